"""Run subjects: their variants in turn, round by round, each subject in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.subject import Measure, Row, Size, Subject, UnavailableError, merged

CHECKOUT = Path(__file__).resolve().parent.parent
LAST_LINES = 5


@dataclass(frozen=True)
class Finding:
    """What one subject came to."""

    name: str
    rows: list[Row]
    seconds: float


def order(names: Sequence[str], rounds: int) -> Iterator[str]:
    """Yield each name once in each round; the next one begins each, so that none is always last."""
    for number in range(rounds):
        first = number % len(names) if names else 0
        yield from (*names[first:], *names[:first])


def run(subject: Subject, size: Size, rounds: int) -> list[Row]:
    """Return the rows of a subject, measured in this process."""
    try:
        with subject.opened(size) as variants:
            return merged(_rounds(variants, min(rounds, subject.max_rounds or rounds)))
    except UnavailableError as reason:
        return [Row(subject.title, "all", problem=str(reason))]


def _rounds(variants: Mapping[str, Measure], rounds: int) -> Iterator[Row]:
    given_up: set[str] = set()
    for name in order(list(variants), rounds):
        if name in given_up:
            continue
        print(f"  {name}", file=sys.stderr, flush=True)
        try:
            yield from variants[name]()
        except UnavailableError as reason:
            given_up.add(name)
            yield Row("", name, problem=str(reason))


def run_apart(subject: Subject, size: Size, rounds: int) -> Finding:
    """Return what a subject comes to in a process of its own, whose crash is a row."""
    print(f"{subject.name}: {subject.title}", file=sys.stderr, flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found, log = Path(folder, "found.json"), Path(folder, "log")
        command = [sys.executable, "-m", "benchmarks", "--only", subject.name, "--apart"]
        command += ["--size", size, "--rounds", str(rounds), "--json", str(found)]
        status = _run(command, log, subject.timeout_s)
        if found.exists():
            rows = findings(json.loads(found.read_text(encoding="utf-8")))[0].rows
        else:
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            last = " / ".join(line.strip() for line in lines[-LAST_LINES:])
            print("\n".join(lines), file=sys.stderr)
            rows = [Row(subject.title, "all", problem=f"{status}: {last}")]
    return Finding(subject.name, rows, time.monotonic() - began)


def _run(command: Sequence[str], log: Path, timeout_s: float) -> str:
    """Run a command with its output in a file; return how it ended."""
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(command, cwd=CHECKOUT, stdout=stream, stderr=stream)
        try:
            return f"exit status {process.wait(timeout_s)}"
        except subprocess.TimeoutExpired:
            return f"not done after {timeout_s:.0f} s"
        finally:
            process.terminate()
            process.wait(60)


def as_json(found: Sequence[Finding]) -> list[dict[str, Any]]:
    """Return findings as what JSON can hold."""
    return [asdict(each) for each in found]


def findings(content: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Return what `as_json` was given, whose samples JSON keeps as lists."""
    return [
        Finding(
            each["name"],
            [Row(**{**row, "samples": tuple(row["samples"])}) for row in each["rows"]],
            each["seconds"],
        )
        for each in content
    ]
