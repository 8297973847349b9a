"""Read the commands of a Slurm script as far as a submission must know them.

Not a shell's parser: comments, quotes, continued lines and here-documents are distinguished, which
is enough to find the command that gets the script's arguments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

SHELLS = {"sh", "bash", "dash", "ash", "ksh", "zsh"}
"""Interpreters that pass a script's arguments on as `"$@"`."""
FORWARDING_SHELLS = {"sh", "bash", "dash"}
"""Those of them that `training.slurm.forwarding` is tested with."""
TOKEN = re.compile(r"""'[^']*'|"(?:[^"\\]|\\.)*"|\\.|(?<!\S)\#.*|.""")
"""A quoted text, an escaped character, a comment, or a single character."""
HERE_DOCUMENT = re.compile(r"""<<-?\s*(?P<quote>['"]?)(?P<end>\w+)(?P=quote)""")
ARGUMENTS = re.compile(r"\$\{?@")
JOINED_ARGUMENTS = re.compile(r"\$\{?\*")
ALL_QUOTED = re.compile(r'"\$(@|\{@(:[^}]*)?\})"')
ALL_JOINED = re.compile(r'"\$(\*|\{\*\})"')
LAUNCHER = "run.py"
PRINTS = re.compile(r"\s*(echo|printf|logger)\b")
REPLACES_SHELL = re.compile(
    r"""\s*exec\s+(\S*/)?(python[\d.]*|srun|apptainer|singularity
    |env|nice|ionice|stdbuf|numactl|taskset)\s""",
    re.VERBOSE,
)
"""`exec` of a program that is signalled itself, passes signals on, or becomes what it starts."""
MORE_THAN_ONE_COMMAND = re.compile(r"[|;()`]|(?<![<>])&(?!>)")
TRAP = re.compile(r"\s*trap\s+(?!-)(?P<words>.+)")
SIGNAL_NAMES = {"1": "HUP", "2": "INT", "10": "USR1", "12": "USR2", "15": "TERM"}
SIGNALS = frozenset(SIGNAL_NAMES.values())
"""The signals that Slurm or a site may send to a batch script, without `SIG`."""

Passing = Literal["", "quoted", "unquoted", "in a text", "joined"]
"""How a command uses the script's arguments; empty: not at all."""


@dataclass(frozen=True)
class Command:
    """A command line without its comment; lines that are continued by a backslash are one."""

    line: int
    """Number of its first line, from 1."""
    text: str

    @property
    def is_launcher(self) -> bool:
        """Whether it runs training/run.py."""
        return LAUNCHER in self.text

    @property
    def prints(self) -> bool:
        """Whether it is a command that only prints its arguments."""
        return bool(PRINTS.match(self.text))

    @property
    def passing(self) -> Passing:
        """How it uses the script's arguments: `"$@"` is quoted, `"python x $@"` in a text."""
        bare = ""
        for token in TOKEN.findall(self.text):
            if not token.startswith('"'):
                bare += "" if token.startswith("'") else token
            elif ALL_QUOTED.fullmatch(token):
                return "quoted"
            elif ARGUMENTS.search(token):
                return "in a text"
            elif JOINED_ARGUMENTS.search(token):
                return "joined" if ALL_JOINED.fullmatch(token) else "unquoted"
        return "unquoted" if ARGUMENTS.search(bare) or JOINED_ARGUMENTS.search(bare) else ""

    @property
    def replaces_shell(self) -> bool:
        """Whether it is one command that takes the shell's place (`exec`) and heeds signals."""
        is_more = MORE_THAN_ONE_COMMAND.search(_unquoted(self.text))
        return bool(REPLACES_SHELL.match(self.text)) and not is_more


def interpreter(text: str) -> str:
    """Return the name of a script's interpreter, `bash` for `#!/usr/bin/env -S bash -l`."""
    words = text.partition("\n")[0].removeprefix("#!").split()
    names = [word.rpartition("/")[2] for word in words if not word.startswith("-")]
    if names[:1] == ["env"]:
        names = [name for name in names[1:] if "=" not in name]
    return names[0] if names else ""


def commands(text: str) -> list[Command]:
    """Return the command lines of a script, without comments and here-documents."""
    found: list[Command] = []
    begun, first = "", 0
    for number, line in outside_here_documents(text):
        code = "".join(each for each in TOKEN.findall(line) if not each.startswith("#")).rstrip()
        first = first if begun else number
        begun += code
        if begun.endswith("\\"):
            begun = begun[:-1] + " "
            continue
        if begun.strip():
            found.append(Command(first, begun))
        begun = ""
    return [*found, Command(first, begun)] if begun.strip() else found


def outside_here_documents(text: str) -> Iterator[tuple[int, str]]:
    """Yield a script's lines with their numbers, from 1, except those of here-documents."""
    lines, end = text.splitlines(), ""
    for number, line in enumerate(lines, 1):
        if end:
            end = "" if line.strip() == end else end
            continue
        yield number, line
        match = None if line.lstrip().startswith("#") else HERE_DOCUMENT.search(line)
        # `<<` is also a shift or part of `<<<`: a here-document has an end.
        if match and match["end"] in map(str.strip, lines[number:]):
            end = match["end"]


def launch_commands(text: str) -> list[Command]:
    """Return the commands that run training/run.py, else those that use the script's arguments."""
    lines = commands(text)
    launchers = [each for each in lines if each.is_launcher]
    return launchers or [each for each in lines if each.passing and not each.prints]


def trapped_signals(text: str) -> dict[str, int]:
    """Return the signals that a script traps by itself, without `SIG`, with the lines' numbers."""
    found: dict[str, int] = {}
    for command in commands(text):
        if match := TRAP.match(command.text):
            words = _unquoted(match["words"]).replace(";", " ").split()
            names = [SIGNAL_NAMES.get(word, word.removeprefix("SIG")) for word in words]
            found |= {name: command.line for name in names if name in SIGNALS}
    return found


def _unquoted(text: str) -> str:
    return "".join(token for token in TOKEN.findall(text) if len(token) == 1)
