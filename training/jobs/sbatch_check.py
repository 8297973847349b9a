"""Whether Slurm would take a plan's jobs, asked before anything is created."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from preprocess.faults import Fault
from training.jobs import sbatch_commands
from training.plan.model import Plan
from training.slurm import client
from training.slurm.batch_script import parse

NOT_NOW = "Requested node configuration is not available"


def check_with_sbatch(plan: Plan, commands: Iterable[list[str]]) -> list[str]:
    """Have Slurm say what it would refuse, of scripts that are not kept yet; warnings.

    Raises SlurmRefusedError.
    """
    slurm = sbatch_commands.slurm_of(plan)
    with tempfile.TemporaryDirectory() as folder:
        script, light_script = Path(folder, "scenes.slurm"), Path(folder, "aggregate.slurm")
        script.write_text(slurm.script_text, encoding="utf-8")
        light_script.write_text(slurm.light_script_text, encoding="utf-8")
        instead = {plan.script: script, plan.light_script: light_script}
        return [
            doubt
            for each in commands
            if (doubt := _availability_warning(sbatch_commands.with_files(each, instead)))
        ]


def _availability_warning(command: list[str]) -> str:
    try:
        client.test_only(command)
    except client.SlurmRefusedError as error:
        if NOT_NOW not in error.words:
            raise
        # Said of what no node can ever hold, but also while all are down: sbatch itself knows.
        job = next(word for word in command if word.startswith("--job-name="))
        return f"warning: no node can start {job.partition('=')[2]} now ({error.words})"
    return ""


def refusal(plan: Plan, error: client.SlurmRefusedError) -> Fault:
    """The fault of a refusal: Slurm's words and the line of the script that they are about."""
    slurm = sbatch_commands.slurm_of(plan)
    about = [each for each in parse(slurm.script_text)[0] if f"--{each.name}" == error.directive]
    where = f"{slurm.script}:{about[-1].words[0].line}" if about else str(slurm.script)
    value = f"{error.directive}={about[-1].value}" if about else error.directive
    remedy = f"correct {where}, or name another script with --slurm.slurm-script"
    return Fault(str(error), value, remedy)
