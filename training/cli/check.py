"""Check scenes' data as launches and the trainer do: `training-scheduler check`."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict

from preprocess.faults import Fault, FaultsError, counted, did_you_mean, grouped
from preprocess.registry import read_scenes
from preprocess.roots import absolute, shipped
from preprocess.scene import Scene
from training.cli.parser import parse_options, reporting_faults
from training.plan.options import Flag, LaunchOptions, flag_of
from training.system.console import say
from training.system.exit_status import DONE, USAGE
from training.system.paths import resolve_roots
from training.system.typed_command import spelled

if TYPE_CHECKING:
    from training.trainer.config.schema import Config
    from training.trainer.scene_check import How, SceneCheck

DESCRIPTION = """Check scenes' data before a launch: every file, as the trainer will read it, with
all faults at once. A picture of each scene shows body, joints and masks over an image, and the
cameras from above."""
SCENES = "preprocess/scenes"
PICTURES = "checks"
"""Folder of the state root."""
MEANING = {
    "headers": "headers, cameras and body parameters were read",
    "frames": "headers, cameras, body parameters and 8 frames of each were read",
    "pixels": "everything was read",
}
MORE = {
    "headers": "--read frames also compares bodies with masks, and draws a picture of each scene",
    "frames": "--read pixels also decodes every image, mask and depth",
}
MOST_ALONE = 8
"""More scenes are shared among processes."""


class CheckOptions(BaseModel):
    """Which scenes to check, how thoroughly, and with which configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    scenes: Annotated[tuple[str, ...], Flag("What to check", "hi4d_pair17_dance", "SCENE")] = ()
    """Scenes, by name or by a part of it that several may have."""

    all: Annotated[bool, Flag("What to check", "--all")] = False
    """All scenes of the registry."""

    read: Annotated[
        Literal["auto", "headers", "frames", "pixels"], Flag("How", "--read pixels")
    ] = "auto"
    """headers: every file's size, header and end, and all cameras and body parameters; frames: 8
    frames whole too, bodies against masks, and the picture; pixels: every
    frame decoded too; auto: frames for
    scenes that are named, headers with --all."""

    overrides: Annotated[tuple[str, ...], flag_of("overrides", LaunchOptions)] = ()
    """Hydra overrides as for a launch: they decide which files are read."""

    pictures: Annotated[str, Flag("How", "--pictures looks")] = ""
    """Folder for the pictures; `checks` of the state root when not given."""

    scenes_dir: Annotated[str, flag_of("scenes_dir", LaunchOptions)] = ""
    """Folder of scene files; the shipped registry when not given."""

    scene_data_root: Annotated[str, flag_of("scene_data_root", LaunchOptions)] = ""
    """Where scene data lies (TS_SCENE_DATA_ROOT)."""

    state_root: Annotated[str, flag_of("state_root", LaunchOptions)] = ""
    """Where the pictures are (TS_STATE_ROOT)."""


def command(argv: Sequence[str]) -> int:
    """Check scenes; return the exit status, 2 where something is wrong."""
    return reporting_faults(lambda: check_scenes(argv))


def check_scenes(argv: Sequence[str]) -> int:
    """Print what is found of each scene; return 2 for faults, else 0. Raises FaultsError."""
    from training.trainer.scene_check import How

    options = parse_options(argv, CheckOptions, spelled("check"), DESCRIPTION)
    registry = absolute(options.scenes_dir) if options.scenes_dir else shipped(SCENES)
    scenes, unreadable = read_scenes(registry)
    roots = resolve_roots(options.model_dump())
    if not options.all:
        scenes = _named(scenes, options.scenes, unreadable)
    elif options.scenes:
        raise FaultsError([Fault("--all and names of scenes", remedy="give one of them")])
    config = _config(options.overrides)
    automatic: Literal["headers", "frames"] = "headers" if options.all else "frames"
    read = automatic if options.read == "auto" else options.read
    pictures = absolute(options.pictures) if options.pictures else roots.state_root / PICTURES
    if unreadable:
        say(f"scene files of {registry}\n{_indented(unreadable)}")
    start = time.monotonic()
    found: list[SceneCheck] = []
    checks = _checked(config, scenes, roots.scene_data_root, How(read, pictures))
    for check in _awaited(checks, scenes):
        found.append(check)
        say(_shown(check))
    say(f"\n{_totals(found, read, time.monotonic() - start)}")
    return USAGE if unreadable or any(check.faults for check in found) else DONE


def _named(scenes: Sequence[Scene], names: Sequence[str], unreadable: list[Fault]) -> list[Scene]:
    """Return the scenes of these names, or whose names contain them; raises FaultsError."""
    known = [scene.seq_name for scene in scenes]
    if not names:
        remedy = f"name some, or say --all; {did_you_mean('', known)}"
        raise FaultsError([Fault("no scene is named", remedy=remedy), *unreadable])
    faults, chosen = list[Fault](), set[str]()
    for name in names:
        matches = [name] if name in known else [each for each in known if name in each]
        chosen |= set(matches)
        if not matches:
            faults.append(Fault("no scene has the name", name, did_you_mean(name, known)))
    if faults:
        raise FaultsError([*faults, *unreadable])
    return [scene for scene in scenes if scene.seq_name in chosen]


def _config(overrides: Sequence[str]) -> Config:
    from training.trainer.config.compose import load_config

    return load_config(["shared.scene_name=any", "shared.exp_name=check", *overrides])


def _checked(config: Config, scenes: Sequence[Scene], root: Path, how: How) -> Iterator[SceneCheck]:
    """Yield what is found of each scene, in order; many are shared among processes."""
    from training.trainer.scene_check import check_scene

    one = partial(check_scene, config, data_root=root, how=how)
    processes = min(len(scenes), len(os.sched_getaffinity(0)))
    if len(scenes) <= MOST_ALONE or processes == 1:
        yield from map(one, scenes)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _ignore_interrupts) as pool:
        try:
            yield from pool.map(one, scenes)
        except BrokenProcessPool as error:
            remedy = "was it killed for its memory? check fewer scenes at once"
            raise FaultsError([Fault("a process that checks has ended", remedy=remedy)]) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _ignore_interrupts() -> None:
    """Leave Ctrl-C to the command: these processes end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _awaited(checks: Iterable[SceneCheck], scenes: Sequence[Scene]) -> Iterator[SceneCheck]:
    """Yield the checks; meanwhile a line on a terminal's error output says what is awaited."""
    checks = iter(checks)
    for number, scene in enumerate(scenes, 1):
        _show_wait(f"checking {scene.seq_name} ({number} of {len(scenes)}) …")
        try:
            found = next(checks)
        finally:
            _show_wait("")
        yield found


def _show_wait(text: str) -> None:
    if sys.stderr and sys.stderr.isatty():
        width = shutil.get_terminal_size().columns - 1
        print(f"\r\x1b[K{text[:width]}", end="", file=sys.stderr, flush=True)


def _shown(check: SceneCheck) -> str:
    """Return the lines about one scene; files are named from its folder."""
    state = counted(len(check.faults), "fault") if check.faults else "ok" if check.is_built else ""
    lines = [f"{check.name}: {'; '.join(filter(None, [state, check.summary]))}"]
    if check.faults or check.doubts:
        lines.append(f"    in {check.folder}")
    below = f"{check.folder}{os.sep}"
    lines += [_indented(grouped(check.faults)).replace(below, "")] if check.faults else []
    lines += [f"    doubtful: {line}".replace(below, "") for line in check.doubts]
    lines += [f"    picture: {check.picture}"] if check.picture else []
    return "\n".join(lines)


def _indented(faults: Sequence[Fault]) -> str:
    return "\n".join(textwrap.indent(str(fault), "    ") for fault in faults)


def _totals(found: Sequence[SceneCheck], read: str, seconds: float) -> str:
    wrong = sum(bool(check.faults) for check in found)
    unbuilt = sum(not check.is_built for check in found)
    not_built = f", {unbuilt} not built yet" if unbuilt else ""
    line = f"{counted(len(found), 'scene')}, {wrong} with faults{not_built}"
    if unbuilt == len(found):
        return f"{line}; nothing was read"
    line = f"{line}; {MEANING[read]}, in {seconds:.1f} s"
    return line if read == "pixels" else f"{line}\n{MORE[read]}"
