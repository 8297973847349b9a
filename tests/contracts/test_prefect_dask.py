"""What `flows/adapters/prefect_dask_adapter.py` uses of prefect-dask's `DaskTaskRunner`.

A failure means that the installed prefect-dask has changed: that file must change, and no other.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial

import pytest
from contract import contract

ADAPTER = "flows/adapters/prefect_dask_adapter.py"
runner_contract = partial(contract, "prefect-dask")


@pytest.fixture
def runner():
    """A runner whose cluster is one thread of this process, once it is wanted."""
    from distributed import LocalCluster
    from prefect_dask.task_runners import DaskTaskRunner

    settings = {"n_workers": 1, "processes": False, "dashboard_address": "127.0.0.1:0"}
    return DaskTaskRunner(cluster_class=LocalCluster, cluster_kwargs=settings)


def test_the_adapter_can_be_imported():
    """Every name that it imports is where it was."""
    with runner_contract("(see below)", ADAPTER, "at all"):
        import flows.adapters.prefect_dask_adapter  # noqa: F401


def test_a_copy_has_the_same_settings_and_the_same_class(runner):
    """DaskTaskRunner.duplicate, and its attributes' names."""
    with runner_contract("duplicate", f"{ADAPTER} duplicate", "since each flow run gets a copy"):
        runner.extra = "is not copied"
        twin = runner.duplicate()
        assert twin == runner
        assert type(twin) is type(runner)
        assert twin.cluster_kwargs == runner.cluster_kwargs
        assert not hasattr(twin, "extra")


def test_the_cluster_is_made_by_the_first_use_of_the_client(runner):
    """DaskTaskRunner._started, client and _cluster."""
    with runner_contract(
        "_started, client, _cluster",
        f"{ADAPTER} has_started",
        "to make the dispatcher right after the cluster",
    ):
        assert not runner._started
        with runner:
            assert runner._started
            assert runner._cluster is None
            client = runner.client
            assert runner._cluster.scheduler_address == client.scheduler.address
            cluster = runner._cluster
        assert cluster.status.name == "closed"


def test_what_is_entered_last_is_left_before_the_cluster_closes(runner):
    """DaskTaskRunner._exit_stack."""
    with runner_contract(
        "_exit_stack",
        f"{ADAPTER} close_with_cluster",
        "to give jobs back as long as their scheduler runs",
    ):
        seen = []

        @contextmanager
        def resource():
            yield
            seen.append(runner._cluster.status.name)

        with runner:
            _ = runner.client
            runner._exit_stack.enter_context(resource())
        assert seen == ["running"]


def test_map_calls_submit_for_each_item_by_keywords(runner):
    """DaskTaskRunner.map."""
    with runner_contract("map", f"{ADAPTER} map", "to submit one task run for each scene"):
        from prefect import task

        def submit(task, parameters, wait_for=None, dependencies=None):  # noqa: ARG001
            return parameters["scene"]

        runner.submit = submit
        with runner:
            found = runner.map(task(lambda scene: scene), {"scene": ["a", "b"]})
        assert isinstance(found, list)
        assert found == ["a", "b"]


def test_prefect_cancels_what_a_runner_has_when_a_flow_is_cancelled():
    """prefect.task_runners: cancel_all, which the flow engine calls where a runner has it."""
    with contract(
        "prefect", "TaskRunner.cancel_all", "flows/runner/task_runner.py", "to end scenes on cancel"
    ):
        import inspect

        from prefect.task_runners import ThreadPoolTaskRunner

        assert callable(ThreadPoolTaskRunner.cancel_all)
        assert list(inspect.signature(ThreadPoolTaskRunner.cancel_all).parameters) == ["self"]
