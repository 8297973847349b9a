"""What `flows/adapters/jobqueue_adapter.py` uses of dask-jobqueue, and of its base in distributed.

A failure means that an installed library has changed: that file must change, and no other.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import pytest
from contract import contract

ADAPTER = "flows/adapters/jobqueue_adapter.py"
job_contract = partial(contract, "dask-jobqueue")


@pytest.fixture
def security(tmp_path):
    """Keys in files: those in memory would be written into the current folder."""
    from flows.adapters.dask_adapter import new_certificates, tls_security

    for name, text in new_certificates().items():
        (tmp_path / name).write_text(text)
    return tls_security(*(str(tmp_path / name) for name in ("ca_file", "cert", "key")))


@pytest.fixture
def cluster(security):
    """A cluster whose jobs are submitted nowhere."""
    import logging

    from flows.adapters.jobqueue_adapter import JobCluster, SubmittedJob

    class Job(SubmittedJob):
        submissions = 0

        def submit(self):
            self.submissions += 1

    with JobCluster(Job, "127.0.0.1", security, logging.CRITICAL) as made:
        yield made


def test_the_adapter_can_be_imported():
    """Every name that it imports is where it was."""
    with job_contract("(see below)", ADAPTER, "at all"):
        import flows.adapters.jobqueue_adapter  # noqa: F401


def test_importing_it_leaves_ctrl_c_as_it_was():
    """dask_jobqueue.runner takes SIGINT for itself when it is imported."""
    with job_contract("dask_jobqueue.runner", ADAPTER, "to leave Ctrl-C to the flow"):
        program = """if True:
            import signal
            before = signal.getsignal(signal.SIGINT)
            import flows.adapters.jobqueue_adapter
            assert signal.getsignal(signal.SIGINT) is before
        """
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr


def test_a_job_starts_and_closes_by_hooks_of_its_base():
    """dask_jobqueue.slurm.SLURMJob, distributed.deploy.spec.ProcessInterface.start and close."""
    with job_contract(
        "SLURMJob.start, SLURMJob.close", f"{ADAPTER} SubmittedJob", "to submit by our own sbatch"
    ):
        from dask_jobqueue.slurm import SLURMJob
        from distributed.deploy.spec import ProcessInterface

        assert issubclass(SLURMJob, ProcessInterface)
        for name in ("start", "close"):
            assert getattr(SLURMJob, name) is not getattr(ProcessInterface, name)


def test_a_cluster_takes_its_classes_and_a_host():
    """dask_jobqueue.slurm.SLURMCluster: job_cls, scheduler_cls, scheduler_options, new_spec."""
    import inspect

    with job_contract("SLURMCluster", f"{ADAPTER} JobCluster", "to make scheduler and jobs ours"):
        from dask_jobqueue.core import JobQueueCluster
        from dask_jobqueue.slurm import SLURMCluster

        assert issubclass(SLURMCluster, JobQueueCluster)
        parameters = inspect.signature(JobQueueCluster.__init__).parameters
        assert {"job_cls", "scheduler_cls", "scheduler_options", "security"} <= set(parameters)


def test_a_new_cluster_has_a_tls_scheduler_here_and_no_job(cluster):
    """SLURMCluster(...).scheduler, workers, new_spec."""
    with job_contract("SLURMCluster", f"{ADAPTER} JobCluster", "to start without jobs"):
        assert cluster.scheduler_address.startswith("tls://127.0.0.1:")
        assert type(cluster.scheduler).__name__ == "QuietScheduler"
        assert cluster.workers == cluster.worker_spec == {}
        assert isinstance(cluster.new_spec["options"], dict)


def test_jobs_are_added_by_name_each_with_its_command(cluster):
    """SpecCluster.worker_spec, _correct_state, workers; the job's `command` and `status`."""
    with job_contract("worker_spec", f"{ADAPTER} JobCluster.add_jobs", "to submit jobs"):
        made = cluster.add_jobs({"w1": ["sbatch", "1"], "w2": ["sbatch", "2"]})
        assert {name: job.command for name, job in made.items()} == {
            "w1": ("sbatch", "1"),
            "w2": ("sbatch", "2"),
        }
        assert [job.submissions for job in made.values()] == [1, 1]
        assert [job.status.name for job in made.values()] == ["running", "running"]


def test_dropped_jobs_are_neither_cancelled_nor_started_again(cluster):
    """SpecCluster.workers and worker_spec without _correct_state."""
    with job_contract("workers", f"{ADAPTER} JobCluster.drop", "to cancel many jobs in one call"):
        made = cluster.add_jobs({"w1": ["sbatch"], "w2": ["sbatch"]})
        cluster.drop(["w1", "unknown"])
        assert list(cluster.workers) == list(cluster.worker_spec) == ["w2"]
        cluster.sync(cluster._correct_state)
        assert [job.submissions for job in made.values()] == [1, 1]


def test_a_job_that_is_not_submitted_closes_with_its_cluster(security):
    """JobQueueCluster.close: no job of ours is cancelled by it.

    Nor does it fail on a job that was dropped, as a refused one is, and is still known to somebody.
    """
    import logging

    with job_contract("SLURMCluster.close", f"{ADAPTER} SubmittedJob.close", "to close quietly"):
        from flows.adapters.jobqueue_adapter import JobCluster, SubmittedJob

        class Refused(SubmittedJob):
            def submit(self):
                """Nothing."""

        with JobCluster(Refused, "127.0.0.1", security, logging.CRITICAL) as made:
            jobs = made.add_jobs({"w1": ["sbatch"], "w2": ["sbatch"]})
            made.drop(["w2"])
        assert {job.status.name for job in jobs.values()} == {"closed"}


def test_workers_are_reported_by_the_clusters_scheduler(cluster):
    """Scheduler.add_plugin on the cluster's event loop."""
    with job_contract("Cluster.sync", f"{ADAPTER} JobCluster.watch_workers", "to see jobs start"):
        cluster.watch_workers(lambda *_: True, lambda _: None)
        assert "worker-events" in cluster.scheduler.plugins
