"""Convert between seconds and Slurm's time format (sbatch(1), option --time)."""

from __future__ import annotations

import re

SLURM_TIME = re.compile(r"(([0-9]+)-)?([0-9]+(:[0-9]+){0,2})")


def seconds_of(text: str) -> int:
    """Return the seconds of a Slurm time: `90` (minutes), `1:30:00`, `1-00:30`.

    Raises ValueError for anything else (format: sbatch(1), option --time).
    """
    match = SLURM_TIME.fullmatch(text.strip())
    if match is None:
        raise ValueError("expected a time such as 90 (minutes), 1:30:00 or 1-00:00:00")
    days, parts = match[2], [int(part) for part in match[3].split(":")]
    if days is not None:  # days-hours[:minutes[:seconds]]
        hours, minutes, seconds = [*parts, 0, 0][:3]
        return ((int(days) * 24 + hours) * 60 + minutes) * 60 + seconds
    if len(parts) == 1:
        return parts[0] * 60
    return sum(part * 60**place for place, part in enumerate(reversed(parts)))


def slurm_time(seconds: int) -> str:
    """Format seconds as `HH:MM:SS`, or `D-HH:MM:SS` from one day on."""
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    clock = f"{hour:02}:{minute:02}:{second:02}"
    return f"{days}-{clock}" if days else clock
