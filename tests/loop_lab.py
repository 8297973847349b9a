"""Loops with `loop_trainer.py` as the project's own trainer.

`python tests/loop_lab.py training.run …` is `python training/run.py …` with it, and
`python tests/loop_lab.py flows.train …` the flow.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SCENES = ("synthetic_pair01_a", "synthetic_pair01_b", "synthetic_pair02_a", "synthetic_pair02_b")
TEST_SCENES = SCENES[2:]
HERE = Path(__file__).resolve()
TRAINER = HERE.parent / "loop_trainer.py"
LAUNCHER = (str(HERE), "training.run")
FLOW = (str(HERE), "flows.train")
DEADLINE_S = 500
FLAGS = ("--loop", "--run-all", "--no-snapshot")


def order_of(names: Sequence[str]) -> tuple[str, ...]:
    """What a whole loop starts, in the order in which one machine does with one worker."""
    return (
        *(f"exp_train_{name}" for name in names),
        *(f"exp_generate_{name}" for name in names),
        "aggregate",
        "refiner",
        *(
            f"exp_{source}_train_{name}"
            for source in ("refined", "rendered", "captured")
            for name in names
            if name in TEST_SCENES
        ),
    )


ORDER = order_of(SCENES)


def add_scenes(lab: Any, names: Sequence[str] = SCENES) -> None:
    for name in names:
        lab.add_scene(name)


def order(lab: Any) -> list[str]:
    """What has been started so far, in order."""
    file = lab.root / "results" / "order.txt"
    return file.read_text(encoding="utf-8").split() if file.exists() else []


def run_loop(lab: Any, program: tuple[str, ...], *flags: str) -> subprocess.CompletedProcess[str]:
    """Run a loop to its end: some twenty processes, one after the other."""
    process = lab.popen(*FLAGS, *flags, program=program, stand_in=False)
    out, err = process.communicate(timeout=DEADLINE_S)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def forget(lab: Any) -> None:
    (lab.root / "results" / "order.txt").unlink()


def mark(lab: Any, name: str) -> Path:
    """Tell the trainer to fail or to hang, as in `fail_refiner`, as long as the file is there."""
    file = lab.root / "results" / name
    file.parent.mkdir(exist_ok=True)
    file.touch()
    return file


def use_stand_in(put: Callable[[Any, str, Any], None] = setattr) -> None:
    """Let this process take `loop_trainer.py`, which needs no data, for our own trainer."""
    from training.plan import launch, loop, train_script

    for module in (launch, loop, train_script):
        put(module, "OWN_SCRIPT", TRAINER)
    for name in ("_absent_input", "_absent_data"):
        put(launch, name, lambda *_: [])


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent.parent))
    _, program, *arguments = sys.argv
    use_stand_in()
    main = importlib.import_module(program).main
    sys.exit(main([*arguments, "--train-script", str(TRAINER)]))
