"""Scenes that run one after the other in a supervisor, and libraries that count their imports."""

from __future__ import annotations

from training.execution.run_scene import run_scene

COUNTED = """
import os, pathlib
with pathlib.Path(os.environ["IMPORTED"]).open("a") as stream:
    stream.write(__name__ + "\\n")
"""


def log_of(plan):
    """What a trainer has written, without the heading of its attempt."""
    lines = plan.log.read_bytes().splitlines(keepends=True)
    own = (line.replace(str(plan.output).encode(), b"TS_OUT") for line in lines)
    return b"".join(line for line in own if not line.startswith(b"=== ")).lstrip(b"\n")


def library(folder, name, text):
    """An installed package of one module; returns what PYTHONPATH needs for it."""
    place = folder / "lib" / "site-packages"
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{name}.py").write_text(COUNTED + text)
    return {"PYTHONPATH": str(place), "IMPORTED": str(folder / "imported")}


def imported(folder):
    file = folder / "imported"
    return file.read_text().split() if file.exists() else []


def run(thread, *plans):
    """What `run_scene` returns for each, one after the other."""
    return [thread.submit(run_scene, plan).result(timeout=60) for plan in plans]
