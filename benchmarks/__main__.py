"""Run all measurements side by side; write docs/performance.md and all samples as JSON."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

from benchmarks import machine, page, runner
from benchmarks.processes import CHECKOUT
from benchmarks.runner import Finding
from benchmarks.subject import Row, Subject
from benchmarks.subjects import commands, subjects
from preprocess.faults import did_you_mean
from training.system.atomic_write import write_atomically
from training.system.exit_status import DONE, INTERRUPTED, TERMINATED
from training.system.processes import die_with_parent

PAGE = Path("docs", "performance.md")
INTRODUCTION = CHECKOUT / "benchmarks" / "introduction.md"
JSON = Path("outputs", "benchmarks.json")
ROUNDS = {"quick": 1, "usual": 3, "full": 3}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for; return the exit status."""
    known = subjects()
    given = _parsed(known, arguments)
    given.rounds = given.rounds or ROUNDS[given.size]
    if given.list:
        _print_list(known)
        return DONE
    if given.apart:
        return _measure_here(known[given.only[0]], given)
    load = os.getloadavg()[0]
    began = time.monotonic()
    found = [
        runner.run_apart(subject, given.size, given.rounds, variants)
        for subject, variants in _chosen(known, given)
    ]
    took_s = time.monotonic() - began
    described = machine.describe(given.size, given.rounds, load, took_s)
    _write(given.json or CHECKOUT / JSON, _content(described, found))
    text = page.render(found, known, described, INTRODUCTION.read_text("utf-8"))
    target = given.page or (CHECKOUT / PAGE if _is_whole(given) else None)
    if target:
        _write(target, text)
    else:
        print(text)
    return DONE


def _parsed(known: Mapping[str, Subject], arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; a name that nothing has ends the program with the nearest ones."""
    parser = _parser()
    given = parser.parse_args(arguments)
    for name in given.only or ():
        if name not in known:
            parser.error(f"there is no subject {name!r}: {did_you_mean(name, known)}")
    variants = [each for name in given.only or known for each in known[name].variants]
    for name in given.variants:
        if name not in variants:
            where = f" of {', '.join(given.only)}" if given.only else ""
            remedy = did_you_mean(name, dict.fromkeys(variants))
            parser.error(f"there is no variant {name!r}{where}: {remedy}")
    return given


def _chosen(
    known: Mapping[str, Subject], given: argparse.Namespace
) -> Iterator[tuple[Subject, list[str]]]:
    """Yield the subjects to measure, each with its chosen variants; none is all of them."""
    for name in dict.fromkeys(given.only or known):
        variants = [each for each in known[name].variants if each in given.variants]
        if variants or not given.variants:
            yield known[name], variants


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--list", action="store_true", help="name what can be measured, and end")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some subjects")
    parser.add_argument(
        "--variants",
        nargs="+",
        default=(),
        metavar="NAME",
        help="some of theirs, by the names of --list",
    )
    parser.add_argument("--rounds", type=_positive, help="of each subject (default 3; quick 1)")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_const", const="quick", dest="size")
    size.add_argument("--full", action="store_const", const="full", dest="size")
    size.add_argument("--size", choices=("quick", "usual", "full"), help=argparse.SUPPRESS)
    parser.set_defaults(size="usual")
    parser.add_argument("--json", type=Path, metavar="PATH", help=f"samples (default {JSON})")
    where = f"page (default {PAGE} for a whole run, else the terminal)"
    parser.add_argument("--page", type=Path, metavar="PATH", help=where)
    parser.add_argument("--apart", action="store_true", help=argparse.SUPPRESS)
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rounds: at least 1")
    return int(text)


def _is_whole(given: argparse.Namespace) -> bool:
    """Return whether a run may replace the committed page."""
    return not given.only and not given.variants and given.size != "quick"


def _print_list(known: dict[str, Subject]) -> None:
    width = max(map(len, known))
    for name, subject in known.items():
        print(f"{name:{width}}  {subject.title}: {'; '.join(subject.variants)}")
    print("\ncommands of their own:")
    for command, sentence in commands().items():
        print(f"{command}\n    {sentence}")


def _measure_here(subject: Subject, given: argparse.Namespace) -> int:
    die_with_parent(signal.SIGTERM)

    def keep(rows: list[Row]) -> None:
        _write(given.json, json.dumps(runner.as_json([Finding(subject.name, rows, 0.0)])))

    runner.run(subject, given.size, given.rounds, keep, given.variants)
    return DONE


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(TERMINATED)


def _content(described: dict[str, str], found: list[Finding]) -> str:
    return json.dumps({"machine": described, "subjects": runner.as_json(found)}, indent=1) + "\n"


def _write(path: Path, text: str) -> None:
    write_atomically(path, text)
    if path.suffix == ".md":
        print(f"written: {path}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _leave)  # what lives meanwhile is closed
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
