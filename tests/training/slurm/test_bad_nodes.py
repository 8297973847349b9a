"""Bad nodes in their files: remembered for a day, forgotten by name or all at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from training.slurm.bad_nodes import (
    FOLDER,
    BadNode,
    avoided_text,
    bad_nodes,
    forget_bad_node,
    forget_bad_nodes,
    note_bad_nodes,
)


def seen(node: str, hours_ago: float, job_id: str = "") -> BadNode:
    return BadNode(node=node, job_id=job_id, seen=datetime.now(UTC) - timedelta(hours=hours_ago))


def test_nodes_are_remembered_for_a_day(tmp_path):
    """By name; one that fails again counts from then; a file that can't be read is no node."""
    note_bad_nodes(tmp_path, [seen("n2", 2.5), seen("n1", 25), seen("n3", 30, "7")])
    note_bad_nodes(tmp_path, [seen("n3", 0, "12_3")])
    (tmp_path / FOLDER / "n9.json").write_text("{")
    assert [each.node for each in bad_nodes(tmp_path)] == ["n2", "n3"]
    assert avoided_text(bad_nodes(tmp_path)) == (
        "avoided for a day, since nothing could start there: n2 (2 h ago), "
        "n3 (job 12_3, within the hour); --slurm.forget-bad-nodes ends it"
    )


def test_nodes_are_forgotten(tmp_path):
    """One on which something has begun, then all; what is no node's name is no file's either."""
    note_bad_nodes(tmp_path, [seen("n1", 0), seen("n2", 0), seen("n3", 0), seen("../x", 0)])
    assert not (tmp_path / "x.json").exists()
    forget_bad_node(tmp_path, "n2")
    forget_bad_node(tmp_path, "n4")
    assert [each.node for each in bad_nodes(tmp_path)] == ["n1", "n3"]
    forget_bad_nodes(tmp_path, datetime.now(UTC) - timedelta(hours=1))
    assert len(bad_nodes(tmp_path)) == 2, "what has been found since a plan was made stays"
    forget_bad_nodes(tmp_path, datetime.now(UTC))
    assert avoided_text(bad_nodes(tmp_path)) == ""


def test_a_root_that_does_not_exist_has_none(tmp_path):
    assert bad_nodes(tmp_path / "absent") == ()
