"""Read and check a Slurm script's `#SBATCH` directives, as sbatch reads them.

Source: sbatch(1) and Slurm's src/sbatch/opt.c. Directives stand before the first command. Their
words (shell quotes, `#` begins a comment) form one command line for getopt_long; of several values
for an option the last one counts.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from training.slurm.times import seconds_of

MAGIC = "#SBATCH"
NO_LIMIT = {"0", "-1", "infinite", "unlimited"}
# Long options of sbatch that need a value; `/x` is the short form.
WITH_VALUE = """
account/A array/a bb bbf begin/b chdir/D cluster-constraint clusters/M comment constraint/C
container core-spec/S cores-per-socket cpu-freq cpus-per-gpu cpus-per-task/c deadline delay-boot
dependency/d distribution/m error/e exclude/x export export-file extra-node-info/B gid gpu-bind
gpu-freq gpus/G gpus-per-node gpus-per-socket gpus-per-task gres gres-flags hint input/i job-name/J
kill-on-invalid-dep licenses/L mail-type mail-user mcs-label mem mem-bind mem-per-cpu mem-per-gpu
mincpus nodefile/F nodelist/w nodes/N ntasks/n ntasks-per-core ntasks-per-gpu ntasks-per-node
ntasks-per-socket tasks-per-node open-mode output/o partition/p power prefer priority profile qos/q
reservation
signal sockets-per-node switches thread-spec threads-per-core time/t time-min tmp tres-per-task uid
wckey wrap
"""
WITHOUT_VALUE = """
contiguous exclusive get-user-env help/h hold/H ignore-pbs nice no-kill/k no-requeue overcommit/O
oversubscribe/s parsable propagate quiet/Q reboot requeue spread-job test-only usage use-min-nodes
verbose/v version/V wait/W
"""
"""Options without a value, or with an optional one after `=`; `/x` is the short form."""
BARE = {option.partition("/")[0] for option in WITHOUT_VALUE.split()}
KNOWN = BARE | {option.partition("/")[0] for option in WITH_VALUE.split()}
SHORT = {
    option[-1]: option[:-2] for option in (WITH_VALUE + WITHOUT_VALUE).split() if "/" in option
}
QUOTE = ("unmatched quote", "close the quote")
SUBMISSIONS = "remove it: it is set on sbatch's command line where it is needed"
RESERVED = {
    **dict.fromkeys(("array", "dependency", "help", "test-only", "usage"), SUBMISSIONS),
    **dict.fromkeys(("version", "wait", "wrap"), SUBMISSIONS),
    "clusters": "remove it, and submit on a login node of that cluster, which can follow its jobs",
    "input": "remove it: a job of ours reads no input, and Slurm ends one whose input is missing",
}
"""Options that belong to a submission, submit nothing, or keep jobs from being followed."""
VARIABLE = re.compile(r"\$\{?[A-Za-z_]\w*")
HETEROGENEOUS = {"hetjob", "packjob", ":"}
NUMBER = re.compile(r"[1-9]\d*")
MEMORY = re.compile(r"\d+[KMGTkmgt]?[Bb]?")
VALUE_FORMATS = {
    "cpus-per-task": (NUMBER, "a number of CPUs, e.g. 8"),
    "ntasks": (NUMBER, "a number of tasks, e.g. 1"),
    "mem": (MEMORY, "an amount such as 96G"),
    "mem-per-cpu": (MEMORY, "an amount such as 4G"),
    "mem-per-gpu": (MEMORY, "an amount such as 96G"),
}
GPU_WORD = re.compile(r"(gres[:/])?(gpu|mps|shard)\b")
GPU_OPTION = re.compile(r"gpus(-per-.*)?|(mem|cpus|ntasks)-per-gpu|gpu-(bind|freq)")

MOST_DIGITS = 9
"""Of a number of GPUs; what has more is too many in any case."""
COUNTED_GPUS = re.compile(r"gres|gpus(-per-(node|task|socket))?")
GPU_KIND = re.compile(r"gpu(:[A-Za-z][^:]*)?(?::\d+)?")
"""A request for GPUs in `gres`, with its kind, as in `gpu:a100:1`."""


@dataclass(frozen=True)
class Word:
    """One word of a directive line, its quotes removed."""

    line: int
    """Line number in the script, from 1."""
    position: int
    """Position in the line, from 0."""
    text: str


@dataclass(frozen=True)
class Directive:
    """One option of sbatch by its long name; `value` is None for an option without one."""

    name: str
    value: str | None
    words: tuple[Word, ...]


def value_of(directives: tuple[Directive, ...], name: str) -> str | None:
    """Return the value of the last directive of that name; None without one."""
    return next((each.value for each in reversed(directives) if each.name == name), None)


def names_nodes(directives: tuple[Directive, ...]) -> bool:
    """Return whether a script says on which nodes its jobs run, so that none can be excluded."""
    return any(each.name in {"nodelist", "nodefile"} for each in directives)


def first_command_line(text: str) -> int:
    """Return the number of a script's first line, from 1, that is neither empty nor a comment.

    Slurm reads no directive from there on. One more than the last line where there is no command.
    """
    lines = text.splitlines()
    is_command = (bool(line.strip()) and not line.lstrip().startswith("#") for line in lines)
    return next((number for number, found in enumerate(is_command, 1) if found), len(lines) + 1)


def limit_s(value: str) -> int | None:
    """Return the seconds of a time limit, None for no limit; raises ValueError if it is no time."""
    return None if value.lower() in NO_LIMIT else seconds_of(value)


Problem = tuple[int, str, str]
"""Line number, what is wrong, the remedy."""


def parse(text: str) -> tuple[tuple[Directive, ...], list[Problem]]:
    """Return the directives of a script's text, and what is wrong with them."""
    words, problems = _words(text)
    directives: list[Directive] = []
    while words:
        try:
            directives += _take(words)
        except _ProblemError as problem:
            problems.append(problem.args[0])
            while words and not words[0].text.startswith("-"):  # the rest of the same remark
                words.pop(0)
    problems += [found for each in directives if (found := _problem_of(each))]
    return tuple(directives), sorted(problems)


def light_text(text: str) -> str:
    """Return the script without the directives that ask for GPUs or shares of them.

    All other text stays as it is, line for line.
    """
    replaced: dict[Word, list[str]] = {}
    for directive in parse(text)[0]:
        without = _without_gpus(directive)
        if without is not None:
            replaced |= {word: [] for word in directive.words}
            replaced[directive.words[0]] = without
    words, _ = _words(text)
    lines = text.splitlines(keepends=True)
    for number in {word.line for word in replaced}:
        of_line = (word for word in words if word.line == number)
        kept = [new for word in of_line for new in replaced.get(word, [word.text])]
        line = f"{MAGIC} {shlex.join(kept)}\n" if kept else f"# without GPU: {lines[number - 1]}"
        lines[number - 1] = line
    return "".join(lines)


def gpu_request(text: str, count: int) -> dict[str, str]:
    """Return the option of sbatch, and its value, that asks for so many GPUs in a script's place.

    It is the script's own option with the kind of GPU that it names, as in `gres=gpu:a100:2`: next
    to another one Slurm would refuse it. `gres` where the script asks for none.
    """
    asked = [each for each in parse(text)[0] if COUNTED_GPUS.fullmatch(each.name)]
    name = next((each.name for each in reversed(asked) if each.name != "gres"), "gres")
    value = value_of(tuple(asked), name) or ""
    if name != "gres":
        return {name: f"{value.rpartition(':')[0]}:{count}".removeprefix(":")}
    parts = [part.removeprefix("gres:") for part in value.split(",") if part]
    kinds = [match[1] or "" for part in parts if (match := GPU_KIND.fullmatch(part))]
    others = [part for part in parts if not GPU_KIND.fullmatch(part)]
    return {"gres": ",".join([*others, f"gpu{kinds[-1] if kinds else ''}:{count}"])}


def requested_gpus(text: str, options: Mapping[str, str]) -> int:
    """Return how many GPUs a job of a script asks for; options of sbatch win over its lines."""
    asked = {each.name: each.value or "" for each in parse(text)[0]} | dict(options)
    counts = [
        _gpu_count(name, part.removeprefix("gres:"))
        for name, value in asked.items()
        if COUNTED_GPUS.fullmatch(name)
        for part in value.split(",")
    ]
    return max(counts, default=0)


def _gpu_count(name: str, part: str) -> int:
    """Return the number in `gpu:a100:2` or, of an option for GPUs alone, in `a100:2` or `2`."""
    if name == "gres" and not GPU_KIND.fullmatch(part):
        return 0
    number = part.rpartition(":")[2]
    return int(number[:MOST_DIGITS]) if number.isdecimal() else 1


class _ProblemError(Exception):
    """Carries one Problem."""


def _words(text: str) -> tuple[list[Word], list[Problem]]:
    words: list[Word] = []
    problems: list[Problem] = []
    for number, line in _directive_lines(text):
        lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
        lexer.whitespace_split, lexer.commenters = True, "#"
        try:
            words += [Word(number, position, each) for position, each in enumerate(lexer)]
        except ValueError:
            ends = line.endswith("\\")
            what, remedy = ("a backslash continues no directive", "remove it") if ends else QUOTE
            problems.append((number, f"{MAGIC}{line}: {what}", remedy))
    return words, problems


def _directive_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield what follows `#SBATCH`, with line numbers, up to the first command."""
    before = text.splitlines()[: first_command_line(text) - 1]
    for number, line in enumerate(before, 1):
        if line.startswith(MAGIC):
            yield number, line.removeprefix(MAGIC)


def _take(words: list[Word]) -> list[Directive]:
    """Remove the next option, or bundle of short ones, and its value from the front of `words`."""
    word = words.pop(0)
    if word.text.startswith("--") and len(word.text) > len("--"):
        return [_take_long(word, words)]
    if word.text.startswith("-") and len(word.text) > 1:
        return _take_short(word, words)
    if word.text in HETEROGENEOUS:
        what = f"{word.text!r} begins another part of a heterogeneous job"
        raise _ProblemError((word.line, what, "keep one part: a scene is one task on one node"))
    raise _ProblemError((word.line, f"{word.text!r} is not an option", "write --option=value"))


def _take_long(word: Word, words: list[Word]) -> Directive:
    given, equals, value = word.text.removeprefix("--").partition("=")
    name = _full_name(given, word)
    if equals:
        return Directive(name, value, (word,))
    if name in BARE:
        return Directive(name, None, (word,))
    if name not in KNOWN:  # an option of a newer Slurm or of a site's plugin
        has_value = bool(words) and not words[0].text.startswith("-")
        return _with_next(name, word, words) if has_value else Directive(name, None, (word,))
    return _with_next(name, word, words)


def _full_name(given: str, word: Word) -> str:
    """Return a long option's name for an abbreviation, as getopt_long allows it."""
    if given in KNOWN:
        return given
    longer = sorted(name for name in KNOWN if name.startswith(given))
    if len(longer) > 1:
        remedy = "write " + " or ".join(f"--{name}" for name in longer)
        raise _ProblemError((word.line, f"--{given} is ambiguous", remedy))
    return longer[0] if longer else given


def _take_short(word: Word, words: list[Word]) -> list[Directive]:
    found: list[Directive] = []
    for end, letter in enumerate(word.text[1:], 2):
        if letter not in SHORT:
            remedy = "see `sbatch --help`; long options are --option=value"
            raise _ProblemError((word.line, f"-{letter} is no option of sbatch", remedy))
        name = SHORT[letter]
        if name not in BARE:
            rest = word.text[end:]
            last = Directive(name, rest, (word,)) if rest else _with_next(name, word, words)
            return [*found, last]
        found.append(Directive(name, None, (word,)))
    return found


def _with_next(name: str, word: Word, words: list[Word]) -> Directive:
    if not words:
        raise _ProblemError((word.line, f"--{name} has no value", f"write --{name}=VALUE"))
    value = words.pop(0)
    return Directive(name, value.text, (word, value))


def _problem_of(directive: Directive) -> Problem | None:
    name, value, line = directive.name, directive.value or "", directive.words[0].line
    shown = f"--{name}={value}" if directive.value is not None else f"--{name}"
    if name in RESERVED:
        return line, shown, RESERVED[name]
    if name in {"time", "time-min", *VALUE_FORMATS} and VARIABLE.search(value):
        return line, shown, "write the value: Slurm expands no variables"
    if name in {"time", "time-min"}:
        try:
            limit_s(value)
        except ValueError as error:
            return line, shown, str(error)
    if name in VALUE_FORMATS and not VALUE_FORMATS[name][0].fullmatch(value):
        return line, shown, f"expected {VALUE_FORMATS[name][1]}"
    return None


def _without_gpus(directive: Directive) -> list[str] | None:
    """Return the words that a directive becomes without GPUs; None where it asks for none."""
    if GPU_OPTION.fullmatch(directive.name):
        return []
    if directive.name != "gres" and not directive.name.startswith("tres-"):
        return None
    parts = (directive.value or "").split(",")
    kept = [part for part in parts if not GPU_WORD.match(part)]
    if kept == parts:
        return None
    return [f"--{directive.name}={','.join(kept)}"] if kept else []
