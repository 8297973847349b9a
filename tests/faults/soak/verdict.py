"""Judge a soak by the trainers' own log, the records, and what is still alive."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

GROWTH = 1.2
"""How much more memory the last quarter of a run may hold than its second quarter."""
FEWEST = 15
"""Samples in a quarter of a run by which its memory is judged."""
TAIL_BYTES = 2**15


@dataclass(frozen=True)
class Trained:
    """What the trainers' own log says."""

    starts: int
    again: int
    """Starts of a scene that had ended well before."""
    doubled: tuple[str, ...]
    """Scenes with two trainers alive at the same moment."""
    never_ended: tuple[str, ...]


def read_log(path: Path) -> list[dict[str, str]]:
    """Return the log's lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def running_pids(path: Path) -> list[int]:
    """Return the processes that have begun by the log's end and not ended well."""
    if not path.exists():
        return []
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - TAIL_BYTES))
        lines = stream.read().decode().splitlines()
    pids: dict[int, None] = {}
    for line in lines:
        try:
            said = json.loads(line)
        except ValueError:  # the first line may be half of one
            continue
        if said["what"] == "began":
            pids[said["pid"]] = None
        else:
            pids.pop(said["pid"], None)
    return list(pids)


def judge(lines: Iterable[Mapping[str, str]], scenes: Iterable[str]) -> Trained:
    """Return what the log means for these scenes."""
    starts, again = 0, 0
    ended: Counter[str] = Counter()
    doubled: dict[str, None] = {}
    for line in lines:
        scene, what = line["scene"], line["what"]
        if what == "doubled":
            doubled[scene] = None
        elif what == "began":
            starts += 1
            again += ended[scene] > 0
        else:
            ended[scene] += 1
    return Trained(starts, again, tuple(doubled), tuple(each for each in scenes if not ended[each]))


def growth(samples: Sequence[float]) -> float:
    """Return the last quarter's median memory over the second quarter's; 1 for too few samples."""
    quarter = len(samples) // 4
    if quarter < FEWEST:
        return 1.0
    second, last = samples[quarter : 2 * quarter], samples[-quarter:]
    return statistics.median(last) / statistics.median(second)


def complaints(
    trained: Trained, not_done: Sequence[str], left: Sequence[str], memory_growth: float
) -> list[str]:
    """Return a sentence for each promise that was not kept."""
    lost = sorted({*trained.never_ended, *not_done})
    found = {
        "never done": lost,
        "trained twice at the same time": trained.doubled,
        "left behind": left,
    }
    said = [f"{name}: {', '.join(each)}" for name, each in found.items() if each]
    if memory_growth > GROWTH:
        said.append(f"memory grew {memory_growth:.2f} times in the second half of a run")
    return said
