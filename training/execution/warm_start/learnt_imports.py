"""What a script imports from installed packages, as one of its runs has written it down.

A file below the state root for each script and interpreter. The process of the run writes it at its
end (`starter.py`); until there is one, scenes start with nothing imported.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from training.configuration.job_variables import without_secret_values
from training.system.atomic_write import write_atomically

FOLDER = "imports"
LEARNT_ANEW_AFTER_S = 24 * 3600
SCENE_ARGUMENT = "shared.scene_name="
Step = tuple[Literal["import", "set"], str, str | None]
"""`["import", module, file]`, or `["set", variable, value]`; None: it is unset."""


class _Content(BaseModel):
    """What a file holds."""

    arguments: list[str] = []
    steps: list[Step] = []
    own: list[str] = []
    left_out: str = ""


@dataclass(frozen=True)
class LearntImports:
    """The steps in which a script imports installed packages."""

    file: Path
    arguments: list[str]
    """Those of the script that are the same for all scenes, without secrets."""
    steps: list[Step]
    """In order; empty: not learnt yet."""
    own: list[str]
    """Names of modules that come from the script's sources."""
    left_out: str = ""
    """What the steps end before: a module that can't be imported ahead, or a variable that is set
    to something of the scene's."""

    @property
    def is_known(self) -> bool:
        """Whether they have been learnt."""
        return bool(self.steps or self.left_out)

    def end_before(self, module: str) -> bool:
        """Write down that the steps end before the import of a module; return False if that fails.

        Each scene imports the rest for itself.
        """
        number = [step[1] for step in self.steps].index(module)
        update = {"steps": self.steps[:number], "left_out": module}
        try:
            write_atomically(
                self.file, _read(self.file).model_copy(update=update).model_dump_json()
            )
        except OSError:
            return False
        return True


def imports_file(state_root: Path, python: str, script: str) -> Path:
    """Return where the imports of a script are written down."""
    digest = hashlib.sha256(f"{python}\0{script}".encode(errors="surrogateescape")).hexdigest()
    return state_root / FOLDER / f"{digest[:16]}.json"


def learnt_imports(file: Path, arguments: Sequence[str]) -> LearntImports:
    """Return what is written down; nothing of a day ago, or of other arguments if that matters.

    It does where the script sets variables before its imports: maybe by its arguments.
    """
    is_of_all = (each for each in arguments if not each.startswith(SCENE_ARGUMENT))
    of_all = without_secret_values(is_of_all)
    content = _read(file)
    sets_variables = any(kind == "set" for kind, *_ in content.steps)
    if sets_variables and content.arguments != of_all:
        content = _Content()
    return LearntImports(file, of_all, content.steps, content.own, content.left_out)


def scene_in(arguments: Sequence[str]) -> str:
    """Return the scene's name, which tells a script's arguments from those for other scenes."""
    names = (each for each in arguments if each.startswith(SCENE_ARGUMENT))
    return next(names, "").removeprefix(SCENE_ARGUMENT)


def _read(file: Path) -> _Content:
    """Return what a file holds; nothing where it is a day old, or no such file."""
    with contextlib.suppress(OSError, ValueError):
        if time.time() - file.stat().st_mtime < LEARNT_ANEW_AFTER_S:
            return _Content.model_validate_json(file.read_bytes())
    return _Content()
