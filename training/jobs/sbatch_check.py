"""Ask Slurm whether it would take a plan's jobs, before anything is created."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from preprocess.faults import Fault
from training.jobs import sbatch_commands
from training.plan.model import Plan
from training.slurm import client
from training.slurm.bad_nodes import FORGET_FLAG, forgotten_text, used_again_text
from training.slurm.batch_script import parse

NOT_AVAILABLE = "Requested node configuration is not available"
"""Slurm says it of what no node can ever hold, but also while all such nodes are down."""
UNKNOWN_NODE = "Invalid node name"
"""Slurm says it of names in the script, and of a bad node that has been renamed or removed."""
GIVEN_AS = dict.fromkeys(("gres", "gpus-per-node", "gpus-per-task", "gpus-per-socket"), "gpus")
"""Our flag for an option of sbatch that has another name."""


@dataclass(frozen=True)
class NoNodeWarning:
    """Slurm finds no node for a job now; it may take the job all the same, and nodes may return."""

    job_name: str
    slurm_message: str

    def __str__(self) -> str:
        return f"warning: no node can start {self.job_name} now ({self.slurm_message})"


def check_with_sbatch(plan: Plan, commands: Iterable[list[str]]) -> list[NoNodeWarning]:
    """Try a plan's sbatch command lines with `--test-only`; return what is doubtful about them.

    Raises SlurmRefusedError for what Slurm would refuse, and another SlurmError when it can't be
    asked.
    """
    slurm = sbatch_commands.slurm_of(plan)
    with tempfile.TemporaryDirectory() as folder:
        script, light_script = Path(folder, "scenes.slurm"), Path(folder, "aggregate.slurm")
        script.write_text(slurm.script_text, encoding="utf-8")
        light_script.write_text(slurm.light_script_text, encoding="utf-8")
        instead = {plan.script: script, plan.light_script: light_script}
        tested = [_test(sbatch_commands.with_files(each, instead)) for each in commands]
    return [warning for warning in tested if warning is not None]


def with_nodes_left(
    plan: Plan, commands: Callable[[Plan], Iterable[list[str]]]
) -> tuple[Plan, list[str]]:
    """Try a plan's command lines as `check_with_sbatch` does; return the plan and warnings.

    Where Slurm has no node but bad ones, which the plan excludes, it is the plan that uses them;
    where it does not know one of them any more, too.
    """
    excluded = sbatch_commands.slurm_of(plan).excluded_nodes
    again = using_bad_nodes(plan)
    try:
        warnings = check_with_sbatch(plan, commands(plan))
    except client.SlurmRefusedError as error:
        if UNKNOWN_NODE not in error.slurm_message or not excluded:
            raise
        warnings = check_with_sbatch(again, commands(again))
        return again, [forgotten_text(excluded), *map(str, warnings)]
    if warnings and excluded and not check_with_sbatch(again, commands(again)):
        return again, [used_again_text(excluded)]
    return plan, list(map(str, warnings))


def using_bad_nodes(plan: Plan) -> Plan:
    """Return the plan without excluded nodes; they are forgotten when it starts."""
    slurm = sbatch_commands.slurm_of(plan)
    update = {"excluded_nodes": (), "forget_bad_nodes": True}
    warnings = tuple(each for each in plan.warnings if FORGET_FLAG not in each)
    return plan.model_copy(update={"slurm": slurm.model_copy(update=update), "warnings": warnings})


def _test(command: list[str]) -> NoNodeWarning | None:
    try:
        client.test_only(command)
    except client.SlurmRefusedError as error:
        if NOT_AVAILABLE not in error.slurm_message:
            raise
        # sbatch itself distinguishes the two cases: only what no node can ever hold is refused.
        return NoNodeWarning(client.job_name_of(command), error.slurm_message)
    return None


def no_node_left(excluded: Sequence[str]) -> Fault:
    """Return the fault of jobs for which Slurm has no other nodes than these bad ones."""
    what = "no node is left for these jobs: those that could run them are bad, nothing starts there"
    remedy = f"have them repaired, or correct the Slurm script; then {FORGET_FLAG} uses them again"
    return Fault(what, ", ".join(excluded), remedy)


def refusal_fault(plan: Plan, error: client.SlurmRefusedError) -> Fault:
    """Return the fault for a refused job: Slurm's message, and the line or variable it is about."""
    slurm = sbatch_commands.slurm_of(plan)
    if slurm.excluded_nodes and NOT_AVAILABLE in error.slurm_message:
        return no_node_left(slurm.excluded_nodes)
    option = error.directive.removeprefix("--")
    by_flags = slurm.flag_options | slurm.scene_options
    if option in by_flags:
        flag = f"--slurm.{GIVEN_AS.get(option, option)}"
        return Fault(str(error), f"{error.directive}={by_flags[option]}", f"correct {flag}")
    if option in slurm.site_options:
        variable = f"SBATCH_{option.upper()}"
        value = f"{variable}={slurm.site_options[option]}"
        return Fault(str(error), value, f"correct or unset {variable} in your environment")
    about = [each for each in parse(slurm.script_text)[0] if each.name == option]
    where = f"{slurm.script}:{about[-1].words[0].line}" if about else str(slurm.script)
    value = f"{error.directive}={about[-1].value}" if about else error.directive
    remedy = f"correct {where}, or name another script with --slurm.slurm-script"
    return Fault(str(error), value, remedy)
