"""What a compute node lacks is named before any training: the probe's steps and its report."""

from __future__ import annotations

import json
import sys
import threading

import pytest
from page_lab import on_slurm, planned

from flows.runner.dispatch import JobsError, StoppedError
from flows.slurm import connection, node_check, polling, probe, probe_memory
from flows.slurm.node_check import NoNodeLeftError, ProbeFailedError
from preprocess.faults import Fault, FaultsError
from training.jobs import sbatch_commands
from training.jobs.sbatch_check import no_node_left
from training.slurm.bad_nodes import BadNode, bad_nodes, note_bad_nodes
from training.slurm.client import SlurmAwayError, SlurmRefusedError
from training.slurm.parsers import QueuedJob


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """A plan in its file, with keys and with a scheduler that does not listen."""
    monkeypatch.setattr(probe, "CONNECT_S", 0.3)
    monkeypatch.setenv("SLURMD_NODENAME", "n7")
    made = on_slurm(planned(tmp_path, "a"))
    made.file.parent.mkdir(parents=True)
    made.file.write_text(made.model_dump_json())
    connection.make_folder(made)
    connection.publish(made, "tls://127.0.0.1:9")
    return made


def report_of(plan):
    """Run the probe, which fails here; return what it reports."""
    assert probe.main([str(plan.file)]) == 1
    return json.loads(probe.report_file(plan.roots.state_root, plan.plan_id).read_text())


def test_a_probe_names_a_scheduler_that_can_not_be_reached(plan):
    """After the steps that succeed; the report says on which node and with which Python."""
    report = report_of(plan)
    assert "tls://127.0.0.1:9" in report.pop("scheduler")
    succeeded = dict.fromkeys(("tmpdir", "import", "results"), "ok")
    assert report == {"node": "n7", "python": sys.executable, **succeeded}
    assert not list(plan.roots.results_root.iterdir())


@pytest.mark.parametrize("kind", ["absent", "file"])
def test_a_probe_names_a_folder_for_temporary_files_that_a_node_lacks(
    plan, monkeypatch, tmp_path, kind
):
    """A script's TMPDIR: Python would take another folder, its commands would fail."""
    folder = tmp_path / "scratch"
    if kind == "file":
        folder.touch()
    monkeypatch.setenv("TMPDIR", str(folder))
    report = report_of(plan)
    assert str(folder) in report["tmpdir"]
    assert "import" not in report


def test_a_probe_names_a_result_root_that_can_not_be_written(plan):
    plan.roots.results_root.touch()
    report = report_of(plan)
    assert str(plan.roots.results_root) in report["results"]
    assert "scheduler" not in report


def test_a_probe_names_a_project_that_can_not_be_imported(plan, monkeypatch):
    monkeypatch.setitem(sys.modules, "flows.slurm.dask_worker", None)
    report = report_of(plan)
    assert report["import"].startswith("ModuleNotFoundError: ")
    assert "results" not in report


@pytest.mark.parametrize("asks", [True, False])
def test_a_probe_names_what_training_on_a_gpu_lacks(plan, monkeypatch, asks):
    """Where the Slurm script asks for GPUs: in the trainer's words, before any job with one."""

    def fail(_):
        raise FaultsError([Fault("there is no nvcc", remedy="module load cuda")])

    for name in ("_connect", "_compile_rasterizer"):
        monkeypatch.setattr(probe, name, lambda _: None)
    monkeypatch.setattr("training.jobs.sbatch_commands.asks_for_gpus", lambda _: asks)
    monkeypatch.setattr("training.execution.prepare_gpu.prepare_gpu", fail)
    assert probe.main([str(plan.file)]) == int(asks)
    report = json.loads(probe.report_file(plan.roots.state_root, plan.plan_id).read_text())
    assert report["scheduler"] == "ok"
    assert ("no nvcc" in report["gpu"]) == asks
    assert set(node_check.REMEDIES) == set(node_check.FAULTS) == set(probe.STEPS)


class FakeSlurm:
    """A queue with the answers of a list, the last of them for ever; None: Slurm is away."""

    def __init__(self, *answers):
        self.answers, self.cancelled, self.ends = list(answers), [], {}

    def my_jobs(self):
        states = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if states is None:
            raise SlurmAwayError("no answer")
        return [
            QueuedJob("12", "12", "", None, "", each, "Priority", "", 0, 0, "") for each in states
        ]

    def cancel(self, job_ids):
        self.cancelled += job_ids

    def job_ends(self, _):
        return self.ends


@pytest.fixture
def stop():
    """Set once the flow stops."""
    return threading.Event()


@pytest.fixture
def check(plan, stop, monkeypatch):
    """Check a node with a fake Slurm; `report` is written once the queue has been asked for."""
    monkeypatch.setattr(node_check, "POLL_S", 0.001)
    monkeypatch.setattr(polling, "QUERY_S", 0.0)
    monkeypatch.setattr(node_check, "END_S", 0.01)
    monkeypatch.setattr(node_check, "probe_job", lambda *_: ["sbatch"])
    monkeypatch.setattr(node_check.client, "submit", lambda *_, **__: "12")
    messages = []

    def run(slurm, report=None):
        file = probe.report_file(plan.roots.state_root, plan.plan_id)
        asked = slurm.my_jobs

        def my_jobs():
            rows = asked()
            if report is not None and len(slurm.answers) == 1:
                file.write_text(json.dumps({"node": "n7", "python": "python3", **report}))
            return rows

        slurm.my_jobs = my_jobs
        memory = probe_memory.file_of(plan, "10.0.0.1")
        node_check.check_node(plan, memory, slurm, messages.append, stop)
        return messages

    return run


def test_a_node_where_every_step_succeeds_is_accepted(check):
    """While the job waits or Slurm does not answer, a message says so once.

    The job may be missing from one of Slurm's answers, also more than once.
    """
    messages = check(
        FakeSlurm(["PENDING"], [], ["PENDING"], None, None, [], ["RUNNING"], ["RUNNING"]),
        dict.fromkeys(probe.STEPS, "ok"),
    )
    assert messages == [
        "a node is probed before any training: 1 job in Slurm's queue (Priority)",
        "Slurm does not answer as it should: no answer",
    ]


@pytest.mark.parametrize(
    ("step", "fault", "remedy"),
    [
        ("tmpdir", "the folder that TMPDIR names can't be written", "unset TMPDIR"),
        ("import", "the project can't be imported", "must be installed there"),
        ("results", "the result root {root} can't be written", "--results-root"),
        ("scheduler", "the Dask scheduler can't be reached", "--slurm.interface"),
    ],
)
def test_a_failed_step_is_an_error_with_its_remedy(check, plan, step, fault, remedy):
    steps = dict.fromkeys(probe.STEPS, "ok") | {step: "OSError: no"}
    with pytest.raises(JobsError) as caught:
        check(FakeSlurm(["RUNNING"]), steps)
    head, tail = str(caught.value).split("\n    -> ")
    assert head == f"on node n7 {fault.format(root=plan.roots.results_root)}: OSError: no"
    assert remedy in tail
    assert tail.endswith("(Slurm job 12, python3)")


def test_a_probe_that_ends_without_a_report_is_an_error_with_its_log(check, plan):
    """A job that is missing from two of Slurm's answers in a row has ended."""
    plan.job_logs.mkdir(parents=True)
    (plan.job_logs / "exp-probe-12.out").write_text("module: not found\n")
    with pytest.raises(JobsError, match="ended before it could report: module: not found"):
        check(FakeSlurm(["RUNNING"], [], ["RUNNING"], []))


@pytest.fixture
def probe_each(plan, stop, monkeypatch):
    """Check a node, with probes that have these outcomes; return bad nodes and what was excluded.

    An outcome is the node of a probe that passes, or the error.
    """
    excluded, said = [], []

    def check(*outcomes, text="#!/bin/sh"):
        left = list(outcomes)

        def run(*_, exclude):
            excluded.append(exclude)
            outcome = left.pop(0)
            if isinstance(outcome, str):
                return outcome
            raise outcome

        monkeypatch.setattr(node_check, "_run_probe", run)
        changed = plan.model_copy(
            update={"slurm": plan.slurm.model_copy(update={"script_text": text})}
        )
        memory = probe_memory.file_of(changed, "10.0.0.1")
        found = node_check.check_node(changed, memory, FakeSlurm([]), said.append, stop)
        return found, excluded, said

    return check


def failed_on(node):
    return ProbeFailedError(f"no python on {node}", "12", node)


def test_a_probe_that_fails_is_repeated_on_another_node(plan, probe_each):
    """The node is named, avoided and remembered once another one has passed."""
    note_bad_nodes(plan.roots.state_root, [BadNode(node="n3")])
    bad, excluded, said = probe_each(failed_on("n1"), failed_on("n2"), "n3")
    assert (bad, excluded) == (("n1", "n2"), [(), ("n1",), ("n1", "n2")])
    assert said[0].startswith("no python on n1\n    the probe is repeated on another node than n1")
    assert [each.node for each in bad_nodes(plan.roots.state_root)] == ["n1", "n2"]


@pytest.mark.parametrize(
    ("nodes", "text", "agree"),
    [
        (("n1", "n2", "n3"), "", "as on n1, n2, n3, so that no node is at fault"),
        (("n1", "n1"), "", None),
        (("n1",), "#SBATCH -w n1\n", None),
        (("",), "", None),
    ],
)
def test_a_probe_is_refused_where_no_node_is_at_fault_or_none_is_left(
    plan, probe_each, nodes, text, agree
):
    """Three agree; Slurm does not exclude it; the script names its nodes; its node isn't known."""
    with pytest.raises(JobsError, match=f"no python on {nodes[-1]}") as caught:
        probe_each(*map(failed_on, nodes), text=f"#!/bin/sh\n{text}")
    assert (agree or "python") in str(caught.value)
    assert ("no node" in str(caught.value)) == bool(agree)
    assert not bad_nodes(plan.roots.state_root)


def test_where_no_other_node_is_left_remembered_ones_are_probed(plan, check, monkeypatch):
    """One line says so; what is refused without them too is told in Slurm's words."""
    tried = []

    def refuse(command, **_):
        tried.append([word for word in command if word.startswith("--exclude")])
        raise SlurmRefusedError("Requested node configuration is not available")

    bad = plan.slurm.model_copy(update={"excluded_nodes": ("n1",)})
    monkeypatch.setattr(plan, "__dict__", {**vars(plan), "slurm": bad})
    monkeypatch.setattr(node_check, "probe_job", sbatch_commands.probe_job)
    monkeypatch.setattr(node_check.client, "submit", refuse)
    with pytest.raises(JobsError, match="Slurm refuses the job"):
        check(FakeSlurm([]))
    assert tried == [["--exclude=n1"], []]


def test_where_only_nodes_are_left_on_which_the_probe_failed_that_is_said(probe_each):
    refusal = NoNodeLeftError(no_node_left(["n1"]))
    with pytest.raises(JobsError, match=r"no node is left .*: n1\n.*--slurm.forget-bad-nodes"):
        probe_each(failed_on("n1"), refusal)


def test_a_flow_that_stops_cancels_the_probe(check, stop):
    slurm = FakeSlurm(["RUNNING"])
    asked = slurm.my_jobs

    def my_jobs():
        stop.set()
        return asked()

    slurm.my_jobs = my_jobs
    with pytest.raises(StoppedError):
        check(slurm)
    assert slurm.cancelled == ["12"]


@pytest.fixture
def probes(plan, stop, monkeypatch):
    """Check a node for a plan; return how many probes, which all pass, ran until now."""
    submitted = []
    monkeypatch.setattr(node_check, "_run_probe", lambda *_, **__: submitted.append(1) or "n1")

    def check(address="10.0.0.1", **slurm):
        changed = plan.model_copy(update={"slurm": plan.slurm.model_copy(update=slurm)})
        memory = probe_memory.file_of(changed, address)
        node_check.check_node(changed, memory, FakeSlurm([]), print, stop)
        return len(submitted)

    return check


def test_a_probe_that_passed_is_not_run_again_for_a_day(plan, probes, monkeypatch):
    """Unless --slurm.probe says always; nor is one with `never`. A bad node forgets it."""
    assert probes(probe="never") == 0
    assert [probes(), probes()] == [1, 1]
    assert probes(probe="always") == 2
    assert probes() == 2
    probe_memory.forget(probe_memory.file_of(plan, "10.0.0.1"))
    assert [probes(), probes()] == [3, 3]
    monkeypatch.setattr(probe_memory, "VALID_S", 0.0)
    assert probes() == 4


@pytest.mark.parametrize(
    "change", ["script", "partition", "address", "modules", "interpreter", "project", "results"]
)
def test_a_probe_is_run_again_where_its_outcome_may_differ(plan, probes, monkeypatch, change):
    """Another script, option, address, module, interpreter, version of the project or root."""
    monkeypatch.setenv("LOADEDMODULES", "cuda/12")
    assert [probes(), probes()] == [1, 1]
    changed = {"script": {"script_text": "#!/bin/sh -e"}, "address": {"address": "10.0.0.2"}}
    changed["partition"] = {"flag_options": {"partition": "gpu"}}
    if change == "modules":
        monkeypatch.setenv("LOADEDMODULES", "cuda/13")
    if change == "interpreter":
        monkeypatch.setattr(probe_memory.sys, "executable", "/usr/bin/python3")
    if change == "project":
        monkeypatch.setattr(probe_memory, "checkout_content", lambda _: "edited")
    if change == "results":
        monkeypatch.setattr(plan.roots, "__dict__", {**vars(plan.roots), "results_root": "/other"})
    assert probes(**changed.get(change, {})) == 2


def test_what_changes_while_a_probe_waits_has_not_been_probed(plan, probes, monkeypatch):
    """As a package that is installed while the probe's job is in the queue."""

    def changes(*_, **__):
        monkeypatch.setenv("LOADEDMODULES", "cuda/13")
        return "n1"

    monkeypatch.setattr(node_check, "_run_probe", changes)
    probes()
    assert not probe_memory.is_remembered(probe_memory.file_of(plan, "10.0.0.1"))


def test_a_probe_that_fails_is_not_remembered(plan, probes, monkeypatch):
    def fail(*_, **__):
        raise JobsError("no licence")

    assert probes() == 1
    monkeypatch.setattr(node_check, "_run_probe", fail)
    with pytest.raises(JobsError):
        probes(probe="always")
    assert not probe_memory.is_remembered(probe_memory.file_of(plan, "10.0.0.1"))


def test_a_probe_without_a_place_for_its_report_says_so_in_a_line(tmp_path, capsys, monkeypatch):
    """As where the flow's folder is gone; what the check has found is said there too."""
    monkeypatch.delenv("TMPDIR", raising=False)
    file = tmp_path / "plans" / "exp-1.json"
    file.parent.mkdir()
    file.write_text("{")
    assert probe.main([str(file)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "probe.json" in line
    assert f"results: PlanFileError: {file} can't be read" in line
