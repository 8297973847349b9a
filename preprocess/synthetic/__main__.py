"""The command `python -m preprocess.synthetic`."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    from preprocess.interpreter import TRAINER, require

    require(TRAINER)

from preprocess.faults import Fault, FaultsError, did_you_mean
from preprocess.registry import load_scenes
from preprocess.roots import resolve_root_folders
from preprocess.scene import Scene
from preprocess.synthetic import build
from preprocess.synthetic.build import ensure_scene_data
from preprocess.torch_adapter import defer_compiler

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells count."""
SCENES_DIR = Path(__file__).parent.parent / "scenes"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status: 0, 2 for a fault, 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    defer_compiler()
    try:
        scenes = _chosen(load_scenes(options.scenes_dir), options.names)
        ensure_scene_data(scenes, _root(options.scene_data_root), say)
    except FaultsError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def say(text: str) -> None:
    """Write a line to the standard output; what it can't show is escaped, its end ends nothing."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:  # piped into head: what was built is built
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m preprocess.synthetic", description=build.__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("names", nargs="*", metavar="SEQ_NAME", help="default: all scenes")
    parser.add_argument("--scenes-dir", type=Path, default=SCENES_DIR, metavar="DIR")
    parser.add_argument("--scene-data-root", default="", metavar="DIR")
    return parser


def _chosen(scenes: list[Scene], names: list[str]) -> list[Scene]:
    by_name = {scene.seq_name: scene for scene in scenes}
    faults = [
        Fault("no scene has the seq_name", name, did_you_mean(name, by_name))
        for name in names
        if name not in by_name
    ]
    if faults:
        raise FaultsError(faults)
    return [by_name[name] for name in names] or scenes


def _root(flag: str) -> Path:
    return resolve_root_folders({"scene_data_root": flag})["scene_data_root"]


if __name__ == "__main__":
    sys.exit(main())
