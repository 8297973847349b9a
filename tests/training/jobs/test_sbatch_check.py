"""What Slurm would refuse, and what it only doubts, before anything is created."""

from __future__ import annotations

import pytest

from training.jobs import sbatch_check
from training.jobs.array_chunks import ArrayChunk
from training.jobs.sbatch_check import (
    NoNodeWarning,
    check_with_sbatch,
    refusal_fault,
    with_nodes_left,
)
from training.jobs.sbatch_commands import array_job
from training.slurm.client import SlurmAwayError, SlurmRefusedError


@pytest.fixture
def answers(monkeypatch):
    """Have `sbatch --test-only` raise this error; returns the command lines that were tested."""
    tested = []

    def install(error):
        def test_only(command):
            tested.append(command)
            if error is not None:
                raise error

        monkeypatch.setattr(sbatch_check.client, "test_only", test_only)
        return tested

    return install


def check(plan):
    return check_with_sbatch(plan, [array_job(plan, ArrayChunk(0, 2))])


def test_what_slurm_would_take_has_no_warning(answers, plan):
    """The script is tested in a temporary folder, as it will be kept."""
    tested = answers(None)
    assert check(plan) == []
    (command,) = tested
    assert str(plan.script) not in command
    assert command[0] == "sbatch"


def test_a_job_that_no_node_can_start_now_is_a_warning(answers, plan):
    """Nodes may be down for a while; what no node can ever hold is refused by sbatch itself."""
    message = "allocation failure: Requested node configuration is not available"
    answers(SlurmRefusedError(message))
    assert check(plan) == [NoNodeWarning("job", message)]
    assert str(check(plan)[0]) == f"warning: no node can start job now ({message})"


@pytest.mark.parametrize("is_left", [True, False])
def test_remembered_nodes_are_used_again_where_no_other_is_left(monkeypatch, plan, is_left):
    """They are forgotten when the plan starts; where they don't help either, nothing changes."""
    message = "allocation failure: Requested node configuration is not available"
    avoided = "avoided for a day: n1; --slurm.forget-bad-nodes ends it"
    slurm = plan.slurm.model_copy(update={"excluded_nodes": ("n1", "n2")})
    plan = plan.model_copy(update={"slurm": slurm, "warnings": ("other", avoided)})

    def test_only(command):
        if not is_left or any(word.startswith("--exclude") for word in command):
            raise SlurmRefusedError(message)

    monkeypatch.setattr(sbatch_check.client, "test_only", test_only)
    found, warnings = with_nodes_left(plan, lambda each: [array_job(each, ArrayChunk(0, 2))])
    if not is_left:
        assert (found, warnings) == (plan, [str(NoNodeWarning("job", message))])
        return
    assert (found.slurm.excluded_nodes, found.slurm.forget_bad_nodes) == ((), True)
    assert found.warnings == ("other",)
    (warning,) = warnings
    assert warning.endswith("are used again: n1, n2; no other is left")


@pytest.mark.parametrize("is_the_scripts", [True, False])
def test_a_remembered_node_that_is_gone_refuses_no_run(monkeypatch, plan, is_the_scripts):
    """It was renamed or removed within the day; a wrong name in the script is still refused."""
    slurm = plan.slurm.model_copy(update={"excluded_nodes": ("gone",)})
    plan = plan.model_copy(update={"slurm": slurm})

    def test_only(command):
        if is_the_scripts or any(word.startswith("--exclude") for word in command):
            raise SlurmRefusedError("allocation failure: Invalid node name specified")

    monkeypatch.setattr(sbatch_check.client, "test_only", test_only)
    jobs = lambda each: [array_job(each, ArrayChunk(0, 2))]  # noqa: E731
    if is_the_scripts:
        with pytest.raises(SlurmRefusedError):
            with_nodes_left(plan, jobs)
        return
    found, (warning,) = with_nodes_left(plan, jobs)
    assert (found.slurm.excluded_nodes, found.slurm.forget_bad_nodes) == ((), True)
    assert "forgotten: gone" in warning


@pytest.mark.parametrize(
    "error", [SlurmRefusedError("Invalid qos"), SlurmAwayError("squeue: no answer within 60 s")]
)
def test_every_other_error_is_raised(answers, plan, error):
    """A refusal is a fault of the user's, and a controller that does not answer is no warning."""
    answers(error)
    with pytest.raises(type(error)) as caught:
        check(plan)
    assert caught.value is error


def test_a_refusal_names_the_line_of_the_script(plan):
    """With the directive's value and the remedy."""
    script_text = "#!/bin/bash\n#SBATCH --time=5\n#SBATCH --qos=fast\ntrue\n"
    slurm = plan.slurm.model_copy(update={"script_text": script_text})
    fault = refusal_fault(
        plan.model_copy(update={"slurm": slurm}), SlurmRefusedError("Invalid qos")
    )
    assert fault.value == "--qos=fast"
    assert fault.remedy.startswith(f"correct {plan.slurm.script}:3, ")


def test_a_refusal_for_want_of_other_nodes_than_bad_ones_says_so(plan):
    """With what to do; where none is excluded, it is about what the script asks for."""
    error = SlurmRefusedError("Requested node configuration is not available")
    bad = plan.slurm.model_copy(update={"excluded_nodes": ("n1", "n2")})
    fault = refusal_fault(plan.model_copy(update={"slurm": bad}), error)
    assert fault.value == "n1, n2"
    assert "--slurm.forget-bad-nodes uses them again" in fault.remedy
    assert "bad" not in str(refusal_fault(plan, error))


def test_a_refusal_of_what_the_environment_says_names_the_variable(plan):
    """It wins over the script, whose line is not at fault."""
    update = {"script_text": "#!/bin/bash\n#SBATCH -p gpu\n", "site_options": {"partition": "no"}}
    slurm = plan.slurm.model_copy(update=update)
    error = SlurmRefusedError("invalid partition specified: no")
    fault = refusal_fault(plan.model_copy(update={"slurm": slurm}), error)
    assert fault.value == "SBATCH_PARTITION=no"
    assert "unset SBATCH_PARTITION" in fault.remedy


def test_a_refusal_of_what_a_flag_says_names_the_flag(plan):
    """It wins over both."""
    update = {"flag_options": {"partition": "no"}, "site_options": {"partition": "yes"}}
    slurm = plan.slurm.model_copy(update=update)
    error = SlurmRefusedError("invalid partition specified: no")
    fault = refusal_fault(plan.model_copy(update={"slurm": slurm}), error)
    assert (fault.value, fault.remedy) == ("--partition=no", "correct --slurm.partition")
