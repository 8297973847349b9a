"""Faults that the user can repair: what is wrong, the value, the remedy; all reported at once."""

from __future__ import annotations

import difflib
import errno
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

MOST_OF_A_KIND = 5
"""More faults of a kind are shown as one."""
FIRST_FEW = 3
VARYING = "…"
PARTICULAR = r"'[^']*'|\S*/\S*|\S+'s|\S*\d\S*"
"""What differs between faults of a kind: quoted values, paths, names with digits or an 's."""
NOT_WHAT_IS_MEANT = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG}
"""Errors of a path with nothing, a file for a folder or the reverse, or a loop of links."""
ABSOLUTE = r"(?<!\S)/[^:,\s]+"


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with what the user gave."""

    what: str
    value: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        shown = f"{self.what}: {self.value}" if self.value else self.what
        return f"{shown}\n    -> {self.remedy}" if self.remedy else shown


class FaultsError(Exception):
    """Everything that was found wrong before any work started; nothing has been created."""

    exit_status: ClassVar[int] = 2
    """Of a command that it ends; `training/system/exit_status.py` has all others."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in grouped(self.faults)))

    def __reduce__(self) -> tuple[type[FaultsError], tuple[tuple[Fault, ...]]]:
        return type(self), (self.faults,)


@contextmanager
def unusable_paths_refused() -> Iterator[None]:
    """Raise FaultsError for a path that can't be asked for: not permitted, too long, a loop.

    Around what only reads, or before anything is started.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None:  # of no path: a pipe, a connection
            raise
        reason, remedy = why_unreadable(error)
        what = f"this path can't be used: {reason}"
        fault = Fault(what, str(error.filename), f"{remedy}, or name another one")
        raise FaultsError([fault]) from error


def why_unreadable(error: OSError) -> tuple[str, str]:
    """Return in words why the disk refuses a file or folder, and the remedy."""
    reason = error.strerror or str(error)
    if error.errno in NOT_WHAT_IS_MEANT:
        return reason, "put the file or folder there that is meant"
    return reason, "repair its permissions, or the disk"


def grouped(faults: Sequence[Fault]) -> list[Fault]:
    """Return the faults with many of a kind made one: the count, the first few, their folder."""
    kinds: dict[tuple[str, str], list[Fault]] = {}
    for fault in faults:
        kinds.setdefault((_kind(fault), fault.remedy), []).append(fault)
    shown: list[Fault] = []
    for (kind, _), members in kinds.items():
        shown += members if len(members) <= MOST_OF_A_KIND else [_together(kind, members)]
    return shown


def _together(kind: str, members: Sequence[Fault]) -> Fault:
    first = [_particular(each, kind) for each in members[:FIRST_FEW]]
    folder = _common_folder(members)
    where = f", all below {folder}" if folder else ""
    return Fault(
        f"{len(members)} times{where}: {kind}", f"{', '.join(first)}, …", members[0].remedy
    )


def _particular(fault: Fault, kind: str) -> str:
    """Return what a fault says beside its kind: its value, or the file that it is said of."""
    if VARYING in kind:
        return _one_line(fault)
    return fault.value or fault.what.removesuffix(f": {kind}")


def _kind(fault: Fault) -> str:
    """Return what is wrong without the scene or file that it is said of."""
    subject, colon, rest = fault.what.rpartition(": ")
    return re.sub(PARTICULAR, VARYING, rest if colon and " " not in subject else fault.what)


def _one_line(fault: Fault) -> str:
    return f"{fault.what}: {fault.value}" if fault.value else fault.what


def _common_folder(members: Sequence[Fault]) -> str:
    found = [re.search(ABSOLUTE, text) for text in map(_one_line, members)]
    paths = [match[0] for match in found if match]
    if len(paths) < len(members):
        return ""
    folder = os.path.commonpath([os.path.dirname(path) for path in paths])  # noqa: PTH120 - text
    return "" if folder == os.sep else folder


def unusable_text(text: str) -> str:
    """Return why no name, path or argument of a program can be this text; empty where it can be."""
    if "\0" in text:
        return "leave out the character NUL"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "write it in UTF-8: a plan's file can't hold other bytes"
    return ""


def counted(count: int, noun: str) -> str:
    """Return `1 scene`, `2 scenes`."""
    return f"{count} {noun}{'s' * (count != 1)}"


def nearest(name: str, valid: Iterable[str], count: int = 3) -> list[str]:
    """Return the valid names most like `name`, best first; names that contain it count, too."""
    names = list(valid)
    close = difflib.get_close_matches(name, names, n=count, cutoff=0.6)
    containing = [other for other in names if name and name.lower() in other.lower()]
    return list(dict.fromkeys(close + containing))[:count]


MOST_NAMES = 12


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Return a remedy with the nearest valid names, or with all of them when none is near."""
    names = list(valid)
    close = nearest(name, names)
    if close:
        return "did you mean " + " or ".join(close) + "?"
    return "valid: " + ", ".join(names[:MOST_NAMES]) + (", …" if len(names) > MOST_NAMES else "")
