"""Make scenes of sequences of the public Hi4D data set.

RAW is the data set, one of its pairs (pair17) or one sequence (pair17/dance17); several may be
given. Each sequence gets a folder below the scene data root with what a scene is trained on (the
source camera's images and masks, the cameras, SMPL's parameters), as links into RAW or as copies,
and a scene file whose raw_gt_dir_path is the sequence, or its copy below truth/. Nothing is made
where anything is wrong, and what exists is not replaced.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    from preprocess.interpreter import TRAINER, require

    require(TRAINER)

from pydantic import ValidationError

from preprocess.faults import Fault, FaultsError, why_unreadable
from preprocess.header_checks import collect, one_of_each_size
from preprocess.layout import EVERYONE, SceneFolder
from preprocess.roots import absolute, resolve_root_folders, start_folder
from preprocess.scene import Scene
from preprocess.scene_data import (
    UNREADABLE,
    SceneDataError,
    load_body_parameters,
    load_camera,
    load_genders,
)
from preprocess.synthetic.__main__ import INTERRUPTED, say

PROGRAM = "python -m preprocess.import_hi4d"
SCENES = "preprocess/scenes"
USUAL_CAMERA = 28
PAIR = re.compile(r"pair(\d+)")
MODELS = "train.optimization.loss.depth=0 model.smpl_body_file=…/SMPL_NEUTRAL.npz"
"""What a run needs beside a scene: Hi4D has no depth, and is fitted with SMPL."""
SHOWN = 5
MARKS = ("images", "smpl", "cameras")
"""A folder with one of these is a sequence, whole or not."""
LAYOUT = "expected pairNN/actionNN with images, cameras, smpl and seg, as Hi4D's dataset.md says"


@dataclass(frozen=True)
class Import:
    """One sequence to import: where it is, its scene, and which frames are left out."""

    raw: SceneFolder
    scene: Scene
    skipped: tuple[int, ...]

    def parts(self) -> list[str]:
        """Return what a scene is trained on, as paths inside the sequence."""
        camera = self.scene.cam_id
        parts = [f"images/{camera}", f"seg/img_seg_mask/{camera}", "cameras/rgb_cameras.npz"]
        return [*parts, "smpl", *(["meta.npz"] if self.raw.meta.exists() else [])]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status: 0, 2 for faults, 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        root = resolve_root_folders({"scene_data_root": options.scene_data_root})["scene_data_root"]
        registry = absolute(options.scenes_dir) if options.scenes_dir else start_folder() / SCENES
        imports, before = _planned(options, root, registry)
        for each in () if options.dry_run else imports:
            _make(each, root, registry, copies=options.copy)
    except FaultsError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    except OSError as error:
        sys.stderr.write(f"{_reason(error)}\n    -> {why_unreadable(error)[1]}\n")
        return FaultsError.exit_status
    except KeyboardInterrupt:
        return INTERRUPTED
    said = [*(f"{name}: imported before\n" for name in before)]
    said += [_described(each, root) for each in imports]
    say("".join([*said, _next_step(imports, options) if imports else ""]))
    return 0


def _reason(error: OSError) -> str:
    """Return file and reason; of several that a folder's copy met, the first."""
    if isinstance(error, shutil.Error) and isinstance(error.args[0], list):
        file, _, reason = error.args[0][0]
        return f"{file}: {reason}"
    return f"{error.filename}: {error.strerror}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__)
    parser.add_argument("raw", nargs="+", metavar="RAW", help="data set, pair or sequence")
    help_text = f"source camera; default: meta.npz's mono_cam, else {USUAL_CAMERA}, else the first"
    parser.add_argument("--cam-id", type=int, metavar="N", help=help_text)
    help_text = "leave frames out that lack masks or SMPL's parameters (skip_frames.csv)"
    parser.add_argument("--skip-missing", action="store_true", help=help_text)
    parser.add_argument("--copy", action="store_true", help="copy files instead of linking to RAW")
    parser.add_argument("--dry-run", action="store_true", help="check and print; make nothing")
    help_text = "scene files are written there (default: preprocess/scenes)"
    parser.add_argument("--scenes-dir", default="", metavar="DIR", help=help_text)
    help_text = "scene data goes there (TS_SCENE_DATA_ROOT)"
    parser.add_argument("--scene-data-root", default="", metavar="DIR", help=help_text)
    return parser


def _planned(
    options: argparse.Namespace, root: Path, registry: Path
) -> tuple[list[Import], list[str]]:
    """Return what to import, and the names of scenes that were imported before as they would be.

    Raises FaultsError with everything that is wrong with all of it.
    """
    faults: list[Fault] = []
    found: list[Import] = []
    for raw in map(absolute, options.raw):
        sequences = list(_sequences(raw))
        if not sequences:
            there = "no sequence in it" if raw.is_dir() else "not a folder"
            faults.append(Fault(f"{raw} is no part of Hi4D", there, LAYOUT))
        found += filter(None, [_checked(faults, each, options) for each in sequences])
    faults += _clashes(found)
    before = [each for each in found if _is_there(each, root, registry, copies=options.copy)]
    found = [each for each in found if each not in before]
    faults += [fault for each in found for fault in _existing(each, root, registry)]
    if faults:
        raise FaultsError(dict.fromkeys(faults))
    return found, [each.scene.seq_name for each in before]


def _sequences(folder: Path) -> Iterator[Path]:
    """Yield the sequences at or up to two levels below a folder."""
    below = ("", "*", "*/*")
    for pattern in below:
        paths = [folder] if not pattern else sorted(folder.glob(pattern))
        found = [path for path in paths if any((path / mark).is_dir() for mark in MARKS)]
        if found:
            yield from found
            return


def _checked(faults: list[Fault], folder: Path, options: argparse.Namespace) -> Import | None:
    """Return what to import of a sequence; None where faults are added."""
    raw, before = SceneFolder(folder), len(faults)
    faults += [
        Fault(f"{path}: not there", remedy=LAYOUT)
        for path in (raw.shared_cameras, raw.smpl(0).parent, raw.root / "images")
        if not path.exists()
    ]
    if len(faults) > before:
        return None
    camera = options.cam_id if options.cam_id is not None else _usual_camera(raw)
    faults += _camera_faults(raw, camera)
    frames = raw.frames(camera)
    lacking = {frame: kinds for frame in frames if (kinds := _lacking(raw, camera, frame))}
    if not options.skip_missing:
        faults += _lacking_faults(raw, frames, lacking)
    whole = [frame for frame in frames if frame not in lacking]
    for frame in one_of_each_size(whole, raw.smpl):
        collect(faults, load_body_parameters, raw, frame, "smpl")
    scene = _scene(faults, raw, camera)
    return Import(raw, scene, tuple(lacking)) if scene and len(faults) == before else None


def _usual_camera(raw: SceneFolder) -> int:
    known = raw.cameras()
    wanted = _of_meta(raw, "mono_cam")
    choices = (str(wanted), str(USUAL_CAMERA), *map(str, known))
    return next((int(each) for each in choices if each in map(str, known)), USUAL_CAMERA)


def _of_meta(raw: SceneFolder, key: str) -> Any:
    """Return a value of meta.npz; None where it has none that can be read."""
    import numpy as np

    try:
        with np.load(raw.meta, allow_pickle=False) as file:
            return file[key].reshape(-1)[0]
    except (*UNREADABLE, LookupError):
        return None


def _camera_faults(raw: SceneFolder, source: int) -> list[Fault]:
    """Return the cameras that have images and no calibration or masks, and a wrong source."""
    known, faults = raw.cameras(), list[Fault]()
    if not raw.frames(source):
        remedy = f"choose with --cam-id one of {', '.join(map(str, known)) or 'none'}"
        faults.append(Fault(f"{raw.root}: no images of camera", str(source), remedy))
    for camera in known:
        collect(faults, load_camera, raw, camera, 0)
        masks = raw.mask(camera, EVERYONE, 0).parent
        if not masks.is_dir():
            faults.append(Fault(f"{masks}: no masks of camera {camera}", remedy=LAYOUT))
    return faults


def _lacking(raw: SceneFolder, camera: int, frame: int) -> list[str]:
    """Return the kinds of files that a frame with an image lacks."""
    masks = {f"mask {person}": raw.mask(camera, person, frame) for person in ("0", "1", EVERYONE)}
    files = {"SMPL parameters": raw.smpl(frame), **masks}
    return [kind for kind, path in files.items() if not path.is_file()]


def _lacking_faults(
    raw: SceneFolder, frames: Sequence[int], lacking: dict[int, list[str]]
) -> list[Fault]:
    faults = []
    for kind in sorted({kind for kinds in lacking.values() for kind in kinds}):
        without = [frame for frame, kinds in lacking.items() if kind in kinds]
        shown = ", ".join(map(str, without[:SHOWN])) + (", …" if len(without) > SHOWN else "")
        what = f"{raw.root}: {len(without)} of {len(frames)} frames lack {kind}"
        faults.append(Fault(what, shown, "download them, or leave them out with --skip-missing"))
    return faults


def _scene(faults: list[Fault], raw: SceneFolder, camera: int) -> Scene | None:
    """Return the scene of a sequence, its raw_gt_dir_path being the sequence."""
    content: dict[str, Any] = {
        "seq_name": _name(raw.root),
        "cam_id": camera,
        "raw_gt_dir_path": str(raw.root),
        "video_path": str(raw.image(camera, 0).parent),
        "ref_frame_idx": 0,
    }
    try:
        scene = Scene.of(content, Path(f"{content['seq_name']}.json"))
        people = 2
        genders = load_genders(raw, scene, people)
    except ValidationError:
        remedy = "name folders pairNN/actionNN, in ASCII letters and digits"
        faults.append(Fault(f"{raw.root} gives no name of a scene", content["seq_name"], remedy))
        return None
    except SceneDataError as error:
        faults.append(Fault(str(error)))
        return None
    return Scene.of({**content, **({"genders": list(genders)} if genders else {})}, Path())


def _name(folder: Path) -> str:
    """Return the scene's name: hi4d_pair17_dance of pair17/dance17."""
    found = PAIR.match(folder.parent.name)
    number = found[1] if found else ""
    action = folder.name.removesuffix(number) or folder.name
    return f"hi4d_{found[0] if found else folder.parent.name}_{action}"


def _clashes(found: Sequence[Import]) -> list[Fault]:
    first: dict[str, Import] = {}
    return [
        Fault(
            f"{each.raw.root} and {first[each.scene.seq_name].raw.root} would be one scene",
            each.scene.seq_name,
            "import one of them, or rename its folder",
        )
        for each in found
        if first.setdefault(each.scene.seq_name, each) is not each
    ]


def _is_there(each: Import, root: Path, registry: Path, *, copies: bool) -> bool:
    """Return whether the scene's data is there, and the scene file that would be written."""
    name = each.scene.seq_name
    try:
        text = (registry / f"{name}.json").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    return text == _scene_file(each, copies=copies) and (root / name).is_dir()


def _scene_file(each: Import, *, copies: bool) -> str:
    """Return the text of the scene's file; copies are named from the scene data root."""
    name, content = each.scene.seq_name, each.scene.raw
    if copies:
        video = f"{name}/images/{each.scene.cam_id}"
        content |= {"raw_gt_dir_path": f"truth/{name}", "video_path": video}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _existing(each: Import, root: Path, registry: Path) -> Iterable[Fault]:
    """Return a fault for each place that is taken, unless by an import that was interrupted."""
    places = _places(each, root, registry)
    if _marker(each, root).exists() and not places[-1].exists():
        return []
    remedy = "nothing is overwritten: delete it, or import into another folder"
    return [Fault("exists already", str(path), remedy) for path in places if os.path.lexists(path)]


def _places(each: Import, root: Path, registry: Path) -> tuple[Path, Path, Path]:
    """Return data, truth and file of a scene, as an import names them at its end."""
    name = each.scene.seq_name
    return root / name, root / "truth" / name, registry / f"{name}.json"


def _marker(each: Import, root: Path) -> Path:
    """Return a file that is there while a scene is imported, whose places were free before."""
    return root / f".{each.scene.seq_name}.importing"


def _described(each: Import, root: Path) -> str:
    frames = len(each.raw.frames(each.scene.cam_id)) - len(each.skipped)
    left_out = f" ({len(each.skipped)} left out)" if each.skipped else ""
    genders = f", {' and '.join(each.scene.genders)}" if each.scene.genders else ""
    what = f"camera {each.scene.cam_id}, {frames} frames{left_out}{genders}"
    return f"{each.scene.seq_name}: {what}\n    {each.raw.root} -> {root / each.scene.seq_name}\n"


def _make(each: Import, root: Path, registry: Path, *, copies: bool) -> None:
    """Make the folders under other names and rename them; then write the scene file."""
    data, truth, file = _places(each, root, registry)
    marker = _marker(each, root)
    if marker.exists():
        for left in (data, truth):
            shutil.rmtree(left, ignore_errors=True)
    root.mkdir(parents=True, exist_ok=True)
    marker.touch()
    if copies:
        cameras = [part.removesuffix(f"/{each.scene.cam_id}") for part in each.parts()]
        _fill(truth, each.raw.root, cameras, _copy)
    _fill(data, each.raw.root, each.parts(), _copy if copies else _link, each.skipped)
    registry.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text(_scene_file(each, copies=copies), encoding="utf-8")
    partial.rename(file)
    marker.unlink()


def _fill(
    folder: Path,
    raw: Path,
    parts: Iterable[str],
    place: Callable[[Path, Path], object],
    skipped: Sequence[int] = (),
) -> None:
    """Make a folder with parts of a sequence, whole or not at all."""
    shutil.rmtree(partial := folder.with_name(f".{folder.name}.partial"), ignore_errors=True)
    for part in parts:
        place(raw / part, partial / part)
    if skipped:
        (partial / "skip_frames.csv").write_text(",".join(map(str, skipped)) + "\n", "utf-8")
    partial.rename(folder)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)


def _next_step(imports: Sequence[Import], options: argparse.Namespace) -> str:
    scenes = f"{len(imports)} scene{'s'[: len(imports) != 1]}"
    if options.dry_run:
        return f"{scenes} would be imported; nothing was made\n"
    places = {"--scenes-dir": options.scenes_dir, "--scene-data-root": options.scene_data_root}
    flags = [f"{flag} {shlex.quote(value)}" for flag, value in places.items() if value]
    words = ["training-scheduler check", imports[0].scene.seq_name, *flags, "--overrides", MODELS]
    return f"{scenes} imported; next: {' '.join(words)}\n"


if __name__ == "__main__":
    sys.exit(main())
