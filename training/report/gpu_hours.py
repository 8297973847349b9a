"""GPU-hours of Slurm jobs, by the records: allocated, busy with a trainer, and waiting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from training.plan.model import Plan
from training.report.plots.timeline import Span
from training.slurm.batch_script import requested_gpus

HOUR_S = 3600.0
Period = tuple[datetime, datetime]


@dataclass(frozen=True)
class GpuHours:
    """Hours of a job's GPUs, added up over jobs."""

    allocated: float
    """From the start of a job's first attempt to the end of its last one: a record says no more of
    a job, whose own start and end are not in it."""
    busy: float
    """While a trainer ran."""

    @property
    def waiting(self) -> float:
        """Between the attempts of a job."""
        return self.allocated - self.busy


def are_on_gpus(plans: Sequence[Plan]) -> bool:
    """Return whether an experiment with these plans trains on GPUs; true where none is known."""
    return not plans or any(plan.slurm or plan.gpus for plan in plans)


def gpus_of_job(plans: Sequence[Plan]) -> int:
    """Return how many GPUs a scene's job of the newest of these plans asks for; 0 without Slurm."""
    slurm = next((plan.slurm for plan in plans if plan.slurm), None)
    return requested_gpus(slurm.script_text, slurm.scene_options) if slurm else 0


def gpu_hours(spans: Iterable[Span], gpus: int) -> GpuHours | None:
    """Return the GPU-hours of the jobs of these attempts, `gpus` each; None without any."""
    jobs: dict[str, list[Span]] = {}
    for span in spans:
        if span.job_id:
            jobs.setdefault(span.job_id, []).append(span)
    if not jobs or not gpus:
        return None
    runs = [run for job in jobs.values() for run in _runs(job)]
    allocated = sum(_seconds((run[0].start, max(each.end for each in run))) for run in runs)
    busy = sum(_seconds(period) for run in runs for period in _busy(run))
    return GpuHours(gpus * allocated / HOUR_S, gpus * busy / HOUR_S)


def trained_hours(spans: Iterable[Span]) -> float:
    """Return the hours in which trainers ran, of those that shared a job or a GPU counted once.

    Attempts of which neither is known had a place of their own.
    """
    places: dict[object, list[Span]] = {}
    for number, span in enumerate(spans):
        is_known = span.job_id or span.gpu
        place = (span.host, span.job_id, span.gpu) if is_known else number
        places.setdefault(place, []).append(span)
    periods = (period for shared in places.values() for period in _busy(shared))
    return sum(map(_seconds, periods)) / HOUR_S


def _runs(job: Iterable[Span]) -> Iterator[list[Span]]:
    """Yield the attempts of each run of a job: a requeued one, interrupted, waits in between."""
    run: list[Span] = []
    for span in sorted(job, key=lambda each: each.start):
        if run and _is_over(run, span.start):
            yield run
            run = []
        run.append(span)
    yield run


def _is_over(run: Sequence[Span], moment: datetime) -> bool:
    """Return whether a run of a job had ended at a moment: its last attempt was interrupted."""
    last = max(run, key=lambda span: span.end)
    return last.kind == "interrupted" and last.end <= moment


def _busy(spans: Iterable[Span]) -> list[Period]:
    """Return the periods in which at least one of the attempts runs."""
    merged: list[Period] = []
    for span in sorted(spans, key=lambda each: each.start):
        if merged and span.start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], span.end))
        else:
            merged.append((span.start, span.end))
    return merged


def _seconds(period: Period) -> float:
    return (period[1] - period[0]).total_seconds()
