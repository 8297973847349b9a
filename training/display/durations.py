"""Durations and estimated ends, in words for a person."""

from __future__ import annotations

from datetime import timedelta

from training.records.record import now


def clock(seconds: float) -> str:
    """Return a duration as `0:07`, `1:02:03` or `2-00:00:00`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}-{hours:02}:{minutes:02}:{rest:02}"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def estimate(seconds: float) -> str:
    """Return `about 0:40 left, until 14:05`: local time, with the date unless it is today."""
    end = (now() + timedelta(seconds=seconds)).astimezone()
    day = "" if end.date() == now().astimezone().date() else f"{end:%Y-%m-%d} "
    return f"about {clock(seconds)} left, until {day}{end:%H:%M}"
