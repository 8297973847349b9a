"""What a job leaves as it begins: bad nodes are remembered, its own is good."""

from __future__ import annotations

from training.jobs.begun_jobs import note_begun
from training.jobs.job_entry import ENTRY_VARIABLE
from training.slurm.bad_nodes import BadNode, bad_nodes, note_bad_nodes


def test_nodes_where_others_ended_early_are_remembered_once(plan, monkeypatch):
    """When a job begins; not its own node, whatever was said of it. What others see stays."""
    starts = plan.job_logs / "starts"
    starts.mkdir(parents=True)
    for node in ("n1", "n2.site", "n3"):
        (starts / f"{node}.failed").write_text(f"12_{node}\n")
    note_bad_nodes(plan.roots.state_root, [BadNode(node="n3")])
    monkeypatch.setenv("SLURMD_NODENAME", "n3")
    monkeypatch.setenv(ENTRY_VARIABLE, str(plan.job_logs / "7-0.entry"))
    note_begun(plan)
    found = {each.node: each.job_id for each in bad_nodes(plan.roots.state_root)}
    assert found == {"n1": "12_n1", "n2.site": "12_n2.site"}
    assert {each.name for each in starts.iterdir()} == {"began", "n1.bad", "n2.site.bad"}
    assert (plan.job_logs / "7-0.began").exists()
    (starts / "n4.failed").mkdir()
    (starts / "n5.failed").write_text("12_5\n")
    note_begun(plan)
    assert "n5" in {each.node for each in bad_nodes(plan.roots.state_root)}, "n4 can't be read"
    (starts / "n5.bad").unlink()
    monkeypatch.setenv("SLURMD_NODENAME", "n5")
    note_begun(plan)
    monkeypatch.setenv("SLURMD_NODENAME", "n1")
    note_begun(plan)
    assert [each.node for each in bad_nodes(plan.roots.state_root)] == ["n2.site"]
