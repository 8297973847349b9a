"""Find what Slurm silently accepts in a script although its author meant something else.

Problems keep a script from being submitted; warnings are shown before it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from preprocess.faults import Fault, FaultsError, did_you_mean, why_unreadable
from training.slurm.batch_script import (
    MAGIC,
    VARIABLE,
    Directive,
    Problem,
    first_command_line,
    parse,
    value_of,
)
from training.slurm.forwarding import can_forward, needs_forwarding
from training.slurm.script_commands import (
    SHELLS,
    SIGNAL_NAMES,
    Command,
    Passing,
    commands,
    interpreter,
    launch_commands,
    outside_here_documents,
)

LAST_LINE = 'exec python training/run.py "$@"'
BYTE_ORDER_MARK = "\ufeff"
NEARLY_MAGIC = re.compile(r"\s*#[ \t]*SBATCH\s*-", re.IGNORECASE)
"""A directive with a space or small letters; `##SBATCH` is how people leave one out."""
SET_BY_US = {"output", "error", "job-name", "chdir", "open-mode", "requeue", "no-requeue"}
"""Options on the command line of every submission, which win over the script's."""
BATCH_SIGNAL = re.compile(r"((?P<to>[RB]+):)?(?P<signal>\w+)(@\d+)?", re.IGNORECASE)
TASKS = ("ntasks", "ntasks-per-node", "tasks-per-node", "nodes")
FIRST_NUMBER = re.compile(r"\d+")
STOPS_TRAINING = {"TERM", "INT", "HUP"}
WRONG_PASSING: dict[Passing, tuple[str, str]] = {
    "joined": ('"$*" makes one argument of all', 'write "$@"'),
    "in a text": (
        "$@ inside a quoted text loses all arguments but the first",
        'write bash -c \'python training/run.py "$@"\' run "$@"',
    ),
}


@dataclass(frozen=True)
class SlurmScript:
    """A Slurm script, what its directives say, and what is probably not meant by them."""

    path: Path
    text: str
    directives: tuple[Directive, ...]
    warnings: tuple[str, ...] = ()
    """Each with file and line, and the remedy."""

    def value(self, name: str) -> str | None:
        """Return the value of a long option; None where the script does not set it."""
        return value_of(self.directives, name)


def read_script(path: Path) -> SlurmScript:
    """Read and check a Slurm script; raises FaultsError with everything that is wrong with it."""
    if not path.is_file():
        near = [each.name for each in path.parent.glob("*.slurm")] if path.parent.is_dir() else []
        remedy = did_you_mean(path.name, near) if near else "check the path"
        raise FaultsError([Fault("the Slurm script is not a file", str(path), remedy)])
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason, remedy = str(error), "write it in UTF-8"
        if isinstance(error, OSError):
            reason, remedy = why_unreadable(error)
        what = "the Slurm script can't be read"
        raise FaultsError([Fault(what, f"{path}: {reason}", remedy)]) from error
    problems = list(_first_line_problems(text))
    text = text.removeprefix(BYTE_ORDER_MARK)
    directives, wrong = parse(text)
    problems += sorted([*wrong, *script_problems(text, directives)])
    if problems:
        what = "the Slurm script is not right"
        raise FaultsError(Fault(what, f"{path}:{n}: {value}", hint) for n, value, hint in problems)
    warnings = script_warnings(text, directives)
    return SlurmScript(
        path, text, directives, tuple(f"{path}:{n}: {what}: {hint}" for n, what, hint in warnings)
    )


def script_problems(text: str, directives: Sequence[Directive]) -> list[Problem]:
    """Return what keeps a script's jobs from doing what it says, beside wrong directives."""
    problems = _late_directives(text)
    name = interpreter(text)
    if name in SHELLS:
        problems += _argument_problems(text)
    signal, to_batch = signal_of(directives)
    if signal and to_batch and needs_forwarding(text) and not can_forward(text):
        remedy = f"end the script with {LAST_LINE}, or write it for bash"
        line = _line_of(directives, "signal")
        problems.append((line, f"SIG{signal} would end the {name} that runs the script", remedy))
    return problems


def script_warnings(text: str, directives: Sequence[Directive]) -> list[Problem]:
    """Return what is probably not meant, though the script's jobs can run."""
    warnings = [*_nearly_directives(text), *_variables(directives), *_more_tasks(directives)]
    if interpreter(text) in SHELLS:
        warnings += _split_arguments(text)
    warnings += _signal_warnings(text, directives)
    return sorted(warnings)


def signal_of(directives: Sequence[Directive]) -> tuple[str, bool]:
    """Return the signal of `--signal` without `SIG`, and whether the batch script gets it.

    The signal is empty where the script asks for none.
    """
    match = BATCH_SIGNAL.fullmatch(value_of(tuple(directives), "signal") or "")
    if match is None:
        return "", False
    name = match["signal"].upper().removeprefix("SIG")
    return SIGNAL_NAMES.get(name, name), "B" in (match["to"] or "").upper()


def batch_signal(directives: Sequence[Directive]) -> str:
    """Return the signal, without `SIG`, that the batch script gets by `--signal=B:`; or empty."""
    signal, to_batch = signal_of(directives)
    return signal if to_batch else ""


def splits_arguments(text: str) -> Command | None:
    """Return the command that passes `$@` without quotes, so that a space would split a path."""
    if interpreter(text) not in SHELLS:
        return None
    return next((each for each in launch_commands(text) if each.passing == "unquoted"), None)


def _first_line_problems(text: str) -> Iterator[Problem]:
    if text.startswith(BYTE_ORDER_MARK):
        what = "a byte order mark, which no editor shows, is before #!"
        yield 1, what, "save it as UTF-8 without BOM"
    elif not text.startswith("#!"):
        yield 1, "no interpreter in the first line", "begin it with #!/bin/bash"


def _late_directives(text: str) -> list[Problem]:
    first = first_command_line(text)
    remedy = f"move it above line {first}, the first command"
    return [
        (number, f"Slurm ignores it after the first command: {line.strip()}", remedy)
        for number, line in outside_here_documents(text)
        if number > first and line.startswith((f"{MAGIC} ", f"{MAGIC}\t", f"{MAGIC}-"))
    ]


def _argument_problems(text: str) -> Iterator[Problem]:
    launches = launch_commands(text)
    if not any(each.passing for each in commands(text) if not each.prints):
        line = launches[-1].line if launches else len(text.splitlines())
        what = launches[-1].text.strip() if launches else "nothing runs training/run.py"
        yield line, f'without "$@" no job learns what to do: {what}', f"write {LAST_LINE}"
    for each in launches:
        if each.passing in WRONG_PASSING:
            what, remedy = WRONG_PASSING[each.passing]
            yield each.line, f"{what}: {each.text.strip()}", remedy


def _nearly_directives(text: str) -> Iterator[Problem]:
    remedy = f"write {MAGIC} at the line's beginning, or ##SBATCH to leave it out"
    for number, line in outside_here_documents(text):
        if not line.startswith(MAGIC) and NEARLY_MAGIC.match(line):
            yield number, f"Slurm takes it for a comment: {line.strip()}", remedy


def _variables(directives: Iterable[Directive]) -> Iterator[Problem]:
    for each in directives:
        if each.name not in SET_BY_US and VARIABLE.search(each.value or ""):
            what = f"Slurm expands no variables: --{each.name}={each.value}"
            yield each.words[0].line, what, "write the value"


def _more_tasks(directives: Sequence[Directive]) -> Iterator[Problem]:
    """Yield a warning for each directive in force that asks for several tasks a job."""
    for each in {each.name: each for each in directives if each.name in TASKS}.values():
        number = FIRST_NUMBER.match(each.value or "")
        if number and number.group().lstrip("0") not in {"", "1"}:  # it may have too many digits
            what = f"--{each.name}={each.value}: a scene is one task"
            remedy = "further copies that srun starts step aside; write 1"
            yield each.words[0].line, what, remedy


def _split_arguments(text: str) -> Iterator[Problem]:
    if command := splits_arguments(text):
        what = f"arguments without quotes break at spaces: {command.text.strip()}"
        yield command.line, what, 'write "$@"'


def _signal_warnings(text: str, directives: Sequence[Directive]) -> Iterator[Problem]:
    signal, to_batch = signal_of(directives)
    line = _line_of(directives, "signal")
    if signal and not to_batch and not any("srun" in each.text for each in launch_commands(text)):
        what = f"--signal without B: reaches only what srun starts, not {LAST_LINE}"
        yield line, what, f"write --signal=B:{signal}@60"
    elif signal in STOPS_TRAINING:
        what = f"SIG{signal} stops a training as a lost job would"
        yield line, what, "write --signal=B:USR1@60, which saves a checkpoint"
    if not signal and needs_forwarding(text) and not can_forward(text):
        what = f"{interpreter(text) or 'the interpreter'} passes no signal on: no checkpoint at the"
        yield 1, f"{what} end of a job", f"end the script with {LAST_LINE}, or write it for bash"


def _line_of(directives: Iterable[Directive], name: str) -> int:
    lines = [each.words[0].line for each in directives if each.name == name]
    return lines[-1] if lines else 1
