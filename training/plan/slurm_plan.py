"""Plan how scenes become Slurm jobs, from options and Slurm script; runs no Slurm command."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from preprocess.faults import Fault, FaultsError
from preprocess.roots import CHECKOUT
from training.plan.model import ENDING_SLACK_S, SlurmPlan
from training.plan.options import LaunchOptions
from training.slurm.times import seconds_of

if TYPE_CHECKING:
    from training.slurm.batch_script import SlurmScript

START_S = 30
"""Seconds that a job may need before its trainer starts: modules, environment, interpreter."""


def plan_slurm(options: LaunchOptions) -> SlurmPlan:
    """Return how the chosen scenes become Slurm jobs; raises FaultsError with all faults."""
    from training.slurm.batch_script import (  # a launch on this machine needs none
        light_text,
        read_script,
    )

    faults = _missing_commands(options)
    try:
        script = read_script(_script_path(options))
        time_s = _time_s(options, script)
    except FaultsError as error:
        raise FaultsError([*faults, *error.faults]) from error
    if faults:
        raise FaultsError(faults)
    return SlurmPlan(
        script=script.path,
        script_text=script.text,
        light_script_text=light_text(script.text),
        job_name=job_name(options),
        time_s=time_s,
        scenes_per_job=options.slurm_scenes_per_job,
        parallelism=options.slurm_array_parallelism,
        interface=options.slurm_interface,
    )


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


def _missing_commands(options: LaunchOptions) -> list[Fault]:
    if options.dry_run or shutil.which("sbatch"):
        return []
    remedy = "run this where jobs are submitted (a login node), or leave Slurm out to train here"
    return [Fault("there is no sbatch on this machine's PATH", remedy=remedy)]


def _script_path(options: LaunchOptions) -> Path:
    default = LaunchOptions.model_fields["slurm_script"].default
    given = options.slurm_script
    return CHECKOUT / default if given == default else Path(os.path.abspath(given))


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
