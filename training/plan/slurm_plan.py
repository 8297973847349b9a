"""Plan how scenes become Slurm jobs, from options and Slurm script; runs no Slurm command."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from preprocess.faults import Fault, FaultsError
from preprocess.roots import absolute, shipped
from training.plan.model import ENDING_SLACK_S
from training.plan.option_types import TO_SCENES_END
from training.plan.options import LaunchOptions
from training.plan.slurm_model import SlurmPlan
from training.slurm.times import seconds_of

if TYPE_CHECKING:
    from training.slurm.bad_nodes import BadNode
    from training.slurm.script_checks import SlurmScript
    from training.system.paths import Roots

SITE_VARIABLES = {
    "SBATCH_ACCOUNT": "account",
    "SBATCH_PARTITION": "partition",
    "SBATCH_QOS": "qos",
    "SBATCH_RESERVATION": "reservation",
}
"""Variables that say where a user's jobs run: they win over the script, as with sbatch. All others
of sbatch's stay out, since they would change what our command lines mean."""
SET_BY_SLURM = ("SBATCH_MEM_BIND", "SBATCH_CPU_BIND")
"""Beginnings of variables that Slurm itself sets in a job."""
START_S = 30
"""Seconds that a job may need before its trainer starts: modules, environment, interpreter."""


def plan_slurm(options: LaunchOptions, state_root: Path | None) -> SlurmPlan:
    """Return how the chosen scenes become Slurm jobs; raises FaultsError with all faults.

    `state_root`: where bad nodes are remembered; None where the folders are not known.
    """
    from training.slurm.batch_script import light_text  # a launch on this machine needs none

    script, time_s = _checked_script(options)
    avoided = _avoided(options, script, state_root)
    return SlurmPlan(
        script=script.path,
        script_text=script.text,
        light_script_text=light_text(script.text),
        job_name=job_name(options),
        time_s=time_s,
        scenes_per_job=max(options.slurm_scenes_per_job, options.slurm_scenes_per_gpu),
        parallelism=options.slurm_array_parallelism,
        interface=options.slurm_interface,
        probe=options.slurm_probe,
        excluded_nodes=tuple(each.node for each in avoided),
        forget_bad_nodes=options.slurm_forget_bad_nodes,
        orphan_grace_s=orphan_grace_s(options, time_s),
        site_options=_site_options(),
        flag_options=_flag_options(options),
        scene_options=_scene_options(options, script),
        warnings=_warnings(script, avoided),
    )


def _checked_script(options: LaunchOptions) -> tuple[SlurmScript, int]:
    """Return the Slurm script and a job's time in seconds; raises FaultsError with all faults."""
    from training.slurm.script_checks import read_script

    faults = _missing_commands(options)
    try:
        script = read_script(_script_path(options))
        time_s = _time_s(options, script)
    except FaultsError as error:
        raise FaultsError([*faults, *error.faults]) from error
    if faults:
        raise FaultsError(faults)
    return script, time_s


def _warnings(script: SlurmScript, avoided: Sequence[BadNode]) -> tuple[str, ...]:
    from training.slurm.bad_nodes import avoided_text

    found = [*script.warnings, *_unused_variables(script.path), avoided_text(avoided)]
    return tuple(filter(None, found))


def _avoided(
    options: LaunchOptions, script: SlurmScript, state_root: Path | None
) -> tuple[BadNode, ...]:
    """Return the bad nodes that are excluded."""
    from training.slurm.bad_nodes import bad_nodes
    from training.slurm.batch_script import names_nodes

    if state_root is None or options.slurm_forget_bad_nodes or names_nodes(script.directives):
        return ()
    return bad_nodes(state_root)


def job_name(options: LaunchOptions) -> str:
    """Return the name of an experiment's Slurm jobs."""
    return options.slurm_job_name or options.exp_name


def reserve_s(kill_grace_s: int) -> float:
    """Return the seconds of a job that are not the trainer's: start, a stop's grace, records."""
    return START_S + kill_grace_s + ENDING_SLACK_S


def scene_time_s(job_time_s: int, options: LaunchOptions) -> int:
    """Return a scene's deadline in a job, in seconds: early enough to record the end before Slurm.

    It is at least half of the job's time; --time-limit counts where it is shorter.
    """
    ours = max(job_time_s - reserve_s(options.kill_grace), job_time_s / 2)
    is_default = options.time_limit == LaunchOptions.model_fields["time_limit"].default
    return max(1, int(ours if is_default else min(ours, options.time_limit_s)))


def orphan_grace_s(options: LaunchOptions, scene_s: int) -> int:
    """Return how long a scene of that many seconds at most trains on when its flow has died.

    Nothing where scenes share a GPU: a flow takes over a job with one scene.
    """
    to_its_end = options.in_own_job and options.slurm_scenes_per_gpu == 1
    given = options.orphan_grace or (TO_SCENES_END if to_its_end else "")
    if given == TO_SCENES_END:
        return scene_s
    return seconds_of(given) if given else 0


def split_argument_faults(slurm: SlurmPlan, roots: Roots) -> list[Fault]:
    """Return a fault where a script would split the path of a plan, which it passes unquoted."""
    from training.slurm.script_checks import splits_arguments

    if not any(letter.isspace() for letter in str(roots.state_root)):
        return []
    command = splits_arguments(slurm.script_text)
    if command is None:
        return []
    what = f"the Slurm script splits the state root at its space: {roots.state_root}"
    value = f"{slurm.script}:{command.line}: {command.text.strip()}"
    return [Fault(what, value, 'write "$@", with the quotes')]


def _site_options() -> dict[str, str]:
    found = {option: os.environ.get(name, "") for name, option in SITE_VARIABLES.items()}
    return {option: value for option, value in found.items() if value}


def _flag_options(options: LaunchOptions) -> dict[str, str]:
    given = {
        "account": options.slurm_account,
        "partition": options.slurm_partition,
        "qos": options.slurm_qos,
    }
    return {option: value for option, value in given.items() if value}


def _scene_options(options: LaunchOptions, script: SlurmScript) -> dict[str, str]:
    from training.slurm.batch_script import gpu_request

    memory = {"mem": options.slurm_mem} if options.slurm_mem else {}
    return memory | (gpu_request(script.text, options.slurm_gpus) if options.slurm_gpus else {})


def _unused_variables(script: Path) -> list[str]:
    """Return a warning for the variables of sbatch in this environment that don't count."""
    names = [name for name in sorted(os.environ) if name.startswith("SBATCH_")]
    unused = [each for each in names if not each.startswith((*SITE_VARIABLES, *SET_BY_SLURM))]
    if not unused:
        return []
    return [f"{', '.join(unused)}: not used; write what it says into {script}, as #SBATCH lines"]


def _missing_commands(options: LaunchOptions) -> list[Fault]:
    if options.dry_run or shutil.which("sbatch"):
        return []
    remedy = "run this where jobs are submitted (a login node), or leave Slurm out to train here"
    return [Fault("there is no sbatch on this machine's PATH", remedy=remedy)]


def _script_path(options: LaunchOptions) -> Path:
    default = LaunchOptions.model_fields["slurm_script"].default
    given = options.slurm_script
    return shipped(default) if given == default else absolute(given)


def _time_s(options: LaunchOptions, script: SlurmScript) -> int:
    from training.slurm.batch_script import limit_s

    if options.slurm_time:
        return seconds_of(options.slurm_time)
    remedy = "add a line such as `#SBATCH --time=3:00:00`, or give --slurm.time 3:00:00"
    stated = script.value("time")
    if stated is None:
        raise FaultsError([Fault("no time limit for a scene's job", str(script.path), remedy)])
    seconds = limit_s(stated)
    if seconds is None or seconds <= 0:
        value = f"{script.path}: --time={stated}"
        raise FaultsError([Fault("a scene's job needs a time limit", value, remedy)])
    return seconds
