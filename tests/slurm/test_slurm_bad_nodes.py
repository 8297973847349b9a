"""Nodes on which python does not start, so that jobs end there within a second.

The Slurm script puts a python that fails before the right one on PATH, on the nodes in a file.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from flow_on_slurm import BOUND_S, attempts, end, script, start

from training.slurm.bad_nodes import BadNode, note_bad_nodes

FAILS = "#!/bin/sh\necho 'python: no such library' >&2\nexit 1\n"
NOTE = "the node's name, for a day"
"""What stays behind, so that jobs to come keep off the node."""
LINES = """\
if grep -qxF "$2 $SLURMD_NODENAME" {bad}; then PATH={fails}:$PATH; fi
"""


ALL_DONE = [f"a_{number}: skipped, done" for number in range(4)]


@pytest.fixture(scope="module")
def bad_lab(slurm_module_lab: Any, slurm: Any, prefect_api: Any) -> Any:
    """A lab on Slurm with four scenes, and `break_nodes` to have stages fail on nodes."""
    lab, fails = slurm_module_lab, slurm_module_lab.root / "fails"
    fails.mkdir()
    (fails / "python").write_text(FAILS)
    (fails / "python").chmod(0o755)
    for number in range(4):
        lab.add_scene(f"a_{number}")
    lab.environment |= {"PREFECT_API_URL": prefect_api.url, "PREFECT_API_KEY": "hush-hush"}
    lab.slurm, bad = slurm, lab.root / "bad.txt"
    lab.script = script(lab, lines=LINES.format(bad=bad, fails=fails))

    def break_nodes(stages: dict[str, list[str]]) -> None:
        rows = [f"{stage} {node}" for stage, nodes in stages.items() for node in nodes]
        bad.write_text("\n".join(rows) + "\n")

    lab.break_nodes = break_nodes
    return lab


def remembered(lab: Any) -> set[str]:
    files = (lab.root / "state" / "bad_nodes").glob("*.json")
    return {json.loads(file.read_text())["node"] for file in files}


def nothing_else_is_left(lab: Any, slurm: Any) -> None:
    slurm.wait(lambda: not slurm.squeue() and not lab.strays(), "nothing to be left", BOUND_S)


@pytest.mark.fault(
    "the node fails every job within a second",
    way="slurm_flow",
    ends="done",
    attempts="ok",
    flow="completed",
    left=NOTE,
    rerun="skips it",
    breakage="nothing is tried on another node",
)
@pytest.mark.long
def test_a_flow_goes_on_while_a_node_is_left(bad_lab, slurm):
    """The probe is repeated elsewhere; three of four nodes start no worker, one job at a time.

    No scene is attempted there, and the nodes are remembered.
    """
    *bad, good = slurm.nodes
    bad_lab.break_nodes({"probe": bad[:1], "worker": bad})
    flags = ("--slurm.array-parallelism", "1", *bad_lab.script)
    out = end(start(bad_lab, "flow", *flags))
    assert "4 of 4 scenes done" in out
    assert f"on node {bad[0]}) ended before it could report: python: no such library" in out
    assert f"node {bad[1]} is avoided" in out
    hosts = [each["host"] for n in range(4) for each in attempts(bad_lab, "flow", f"a_{n}")]
    assert hosts == [good] * 4
    assert remembered(bad_lab) == set(bad)
    nothing_else_is_left(bad_lab, slurm)
    again = end(start(bad_lab, "flow", *flags))
    assert all(each in again for each in ALL_DONE)


@pytest.mark.fault(
    "the node fails every job within a second",
    way="slurm_array",
    ends="done",
    attempts="ok",
    flow="completed",
    left=NOTE,
    rerun="skips it",
    breakage="an array's job is started again on the same node",
)
def test_an_array_excludes_remembered_nodes_and_finds_others(bad_lab, slurm, eventually):
    """What others found is said in one line and excluded, unless no other node is left.

    Then all are used again, and the array finds the bad ones itself.
    A job that ends before the training begins is started again elsewhere, and the others of its
    array keep off that node: each wastes one start at most, and the aggregate still follows.
    """
    *bad, good = slurm.nodes
    bad_lab.break_nodes({"array": bad})
    note_bad_nodes(bad_lab.root / "state", [BadNode(node=node) for node in bad])
    preview = bad_lab.run("--submit", "--run-all", "--dry-run", *bad_lab.script).stdout
    assert f"--exclude={','.join(bad)} " in preview
    bad_lab.break_nodes({"array": bad[:2]})
    note_bad_nodes(bad_lab.root / "state", [BadNode(node=good)])
    flags = ("--submit", "--run-all", *bad_lab.script, "--slurm.array-parallelism", "2")
    checked = bad_lab.run(*flags)
    assert f"are used again: {', '.join(sorted(slurm.nodes))}; no other is left" in checked.stdout
    eventually(lambda: not slurm.squeue(), "the array's end", 100)
    for number in range(4):
        (attempt,) = attempts(bad_lab, "exp", f"a_{number}")
        assert attempt["cause"] == "ok"
        assert attempt["host"] in {bad[2], good}
    assert remembered(bad_lab) == set(bad[:2])
    shown = bad_lab.run("--status").stdout
    assert "avoided for a day, since nothing could start there: " in shown
    assert all(node in shown for node in bad[:2])
    logs = list((bad_lab.root / "state" / "slurm").glob("exp-*/exp-*.out"))
    wasted = sum(log.read_text().count("python: no such library") for log in logs)
    assert 2 <= wasted <= 4
    nothing_else_is_left(bad_lab, slurm)
    again = bad_lab.run(*flags)
    assert again.returncode == 0
    assert "nothing is left to submit" in again.stdout
    assert not slurm.squeue()
