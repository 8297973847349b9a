"""Run subjects: their variants in turn, round by round, each subject in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import CHECKOUT, last_words, without_checkout
from benchmarks.subject import Measure, Row, Size, Subject, UnavailableError, merged

END_S = 60.0
"""What lives while a subject is measured, as a Slurm, has so long to end."""


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


def run(
    subject: Subject,
    size: Size,
    rounds: int,
    keep: Callable[[list[Row]], object] = lambda _: None,
    only: Collection[str] = (),
) -> list[Row]:
    """Measure a subject in this process and return its rows.

    `keep` gets what there is after each measurement. `only` names variants; without, it is all.
    Whatever fails is a row that says why.
    """
    found: list[Row] = []
    rounds = min(rounds, subject.max_rounds or rounds)
    try:
        with subject.opened(size) as variants:
            chosen = {name: each for name, each in variants.items() if not only or name in only}
            for rows in _rounds(chosen, rounds):
                found = merged([*found, *rows])
                keep(found)
    except UnavailableError as reason:
        found.append(Row(subject.title, "all", problem=str(reason)))
        keep(found)
    return found


def _rounds(variants: Mapping[str, Measure], rounds: int) -> Iterator[list[Row]]:
    given_up: set[str] = set()
    for name in order(list(variants), rounds):
        if name in given_up:
            continue
        print(f"  {name}", file=sys.stderr, flush=True)
        try:
            yield list(variants[name]())
        except Exception as error:  # noqa: BLE001  # whatever it is, the others can be measured
            given_up.add(name)
            yield [Row("", name, problem=_problem(error))]


def _problem(error: Exception) -> str:
    """Return why a variant has failed; the log gets the traceback of what nobody expected."""
    if isinstance(error, UnavailableError):
        return str(error)
    traceback.print_exception(error)
    return without_checkout(f"{type(error).__name__}: {error}")


def run_apart(subject: Subject, size: Size, rounds: int, only: Collection[str] = ()) -> Finding:
    """Return what a subject comes to in a process of its own; its crash is a row."""
    print(f"{subject.name}: {subject.title}", file=sys.stderr, flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found, log = Path(folder, "found.json"), Path(folder, "log")
        command = [sys.executable, "-m", "benchmarks", "--only", subject.name, "--apart"]
        command += ["--size", size, "--rounds", str(rounds), "--json", str(found)]
        command += ["--variants", *only] if only else []
        status = _run(command, log, subject.timeout_s)
        rows = findings(json.loads(found.read_text("utf-8")))[0].rows if found.exists() else []
        if status != "exit status 0":
            text = log.read_text(encoding="utf-8", errors="replace")
            print(text, file=sys.stderr)
            problem = f"{status}: {last_words(text)}"
            rows.append(Row(subject.title, "the rest", problem=problem))
    return Finding(subject.name, rows, time.monotonic() - began)


def _run(command: Sequence[str], log: Path, timeout_s: float) -> str:
    """Run a command with its output in a file; return how it ended."""
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(
            command,
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,  # at a terminal's Ctrl-C it is ended once, by us
        )
        try:
            return f"exit status {process.wait(timeout_s)}"
        except subprocess.TimeoutExpired:
            return f"not done after {timeout_s:.0f} s"
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process, at last by SIGKILL."""
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


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
