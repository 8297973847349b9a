"""A scene that sleeps, and notes when it began and ended; as a trainer, or called as a function.

`shared.scene_name=scene_007` sleeps for the seventh of the seconds in the file `durations` of the
folder `STAMPS`. Only the standard library: peers import it from environments of their own.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path


def run_scene(number: int) -> int:
    """Run a scene by its number, and return that."""
    folder = Path(os.environ["STAMPS"])
    _stamp(folder / "began")
    time.sleep(float((folder / "durations").read_text(encoding="utf-8").split()[number]))
    _stamp(folder / "ended")
    return number


def _stamp(path: Path) -> None:
    with path.open("a", encoding="utf-8") as stream:
        stream.write(f"{time.time()}\n")


def main() -> None:
    """Run the scene that the overrides name."""
    overrides = dict(argument.split("=", 1) for argument in sys.argv[1:])
    run_scene(int(overrides["shared.scene_name"].rpartition("_")[2]))


if __name__ == "__main__":
    main()
