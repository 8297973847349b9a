"""Faults that the user can repair: what is wrong, the value, the remedy; all reported at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar


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
        super().__init__("\n".join(str(fault) for fault in self.faults))

    def __reduce__(self) -> tuple[type[FaultsError], tuple[tuple[Fault, ...]]]:
        return type(self), (self.faults,)


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
