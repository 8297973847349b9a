"""Which nodes a flow's jobs avoid, and when no node is at fault."""

from __future__ import annotations

import pytest

from flows.slurm.avoided_nodes import AVOID_BAD_S, AVOID_S, MAX_BAD_NODES, AvoidedNodes


def fail(nodes: AvoidedNodes, *names: str, now: float = 0.0) -> bool:
    """Jobs end early on nodes; return whether no node is at fault."""
    nodes.record_failed_starts({f"job {name}": name for name in names}, now)
    return nodes.is_hopeless


def test_three_nodes_agree_unless_something_has_begun_elsewhere():
    """Then only many in a row do."""
    assert [fail(AvoidedNodes(), *"abc"[:count]) for count in (1, 2, 3)] == [False, False, True]
    proven = AvoidedNodes(is_proven=True)
    assert [fail(proven, f"n{n}") for n in range(MAX_BAD_NODES)][-2:] == [False, True]
    proven.record_start("good")
    assert not proven.is_hopeless
    assert not proven.has_failed_starts


def test_a_node_is_confirmed_as_bad_once_a_job_began_elsewhere():
    """Which is told once; a script that fails everywhere is remembered of no node."""
    nodes = AvoidedNodes()
    fail(nodes, "n1", "n2")
    assert nodes.take_news() == ({}, set())
    nodes.record_start("n3")
    assert nodes.take_news() == ({"n1": "job n1", "n2": "job n2"}, {"n3"})
    assert nodes.take_news() == ({}, set())


def test_a_bad_node_on_which_a_job_begins_is_good():
    nodes = AvoidedNodes(is_proven=True)
    fail(nodes, "n1")
    nodes.record_start("n1")
    assert (nodes.bad, nodes.names(1.0), nodes.take_news()) == ((), (), ({}, {"n1"}))


def test_a_lost_node_is_avoided_for_an_hour_and_a_bad_one_for_a_day():
    nodes = AvoidedNodes()
    nodes.avoid_lost("lost", 0.0)
    nodes.avoid_lost("", 0.0)
    nodes.avoid_bad(["bad"], 0.0)
    nodes.avoid_lost("bad", 1.0)
    assert nodes.names(AVOID_S - 1) == ("bad", "lost")
    assert nodes.names(AVOID_S + 1) == ("bad",)
    assert nodes.names(AVOID_BAD_S + 1) == ()


@pytest.mark.parametrize("names", [("",), ("n1",)])
def test_where_no_node_can_be_avoided_three_times_in_a_row_are_enough(names):
    """Slurm does not name it, or the script names the nodes to use."""
    nodes = AvoidedNodes(can_exclude=False, is_proven=True)
    assert [fail(nodes, *names) for _ in range(3)] == [False, False, True]
    assert nodes.bad == ()


def test_remembered_nodes_are_used_again_once_and_then_are_certainly_bad():
    """As those of this run without proof; a start there ends it."""
    nodes = AvoidedNodes(is_proven=True)
    nodes.avoid_bad(["n1", "n2"], 0.0)
    nodes.avoid_bad(["probed"], 0.0, is_certain=True)
    fail(nodes, "n3")
    assert nodes.use_again(["n1", "n2", "n3", "probed"]) == ("n1", "n2", "n3")
    assert (nodes.bad, nodes.names(1.0)) == (("probed",), ("probed",))
    fail(nodes, "n1", "n3")
    nodes.record_start("n3")
    assert nodes.use_again(["n1", "probed"]) == ()
    assert nodes.bad == ("n1", "probed")
    fail(nodes, "n3")
    assert nodes.use_again(["n3"]) == ("n3",)


def test_three_nodes_that_fail_a_second_time_agree():
    """A script that works for the probe alone does not fail twice on each node of a cluster."""
    nodes = AvoidedNodes(is_proven=True)
    fail(nodes, *"abcd")
    nodes.use_again("abcd")
    assert [fail(nodes, name) for name in "abc"] == [False, False, True]


def test_a_node_that_others_have_proved_bad_is_not_used_again():
    nodes = AvoidedNodes()
    fail(nodes, "n1")
    nodes.record_start("n2")
    assert nodes.use_again(["n1"]) == ()


def test_jobs_that_were_queued_before_a_node_was_bad_may_end_there_too():
    """As many as were queued; more show that Slurm does not exclude it."""
    nodes = AvoidedNodes(is_proven=True, most_queued=2)
    assert [fail(nodes, "n1") for _ in range(4)] == [False, False, False, True]
