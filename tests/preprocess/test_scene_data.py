"""Reading scene data: what a file that can't be used says, and what counts as missing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from preprocess.data_checks import missing_data
from preprocess.faults import Fault
from preprocess.layout import EVERYONE, SceneFolder
from preprocess.scene import Scene
from preprocess.scene_data import (
    PARAMETER_SHAPES,
    SceneDataError,
    load_body_parameters,
    load_camera,
    load_depth,
    load_image,
    load_mask,
    picture_size,
    truth_folder,
)

SCENE = Scene(seq_name="hi4d_pair17_dance", cam_id=28)
CAMERA, FRAME = 28, 1


@pytest.fixture
def folder(tmp_path: Path) -> SceneFolder:
    """One frame of one camera and two people, as users have it."""
    folder = SceneFolder(tmp_path / SCENE.seq_name)
    picture = np.zeros((4, 6, 3), np.uint8)
    save(folder.image(CAMERA, FRAME), lambda path: Image.fromarray(picture).save(path))
    for person in (0, 1, EVERYONE):
        mask = Image.fromarray(np.full((4, 6), 255 * (person != 1), np.uint8))
        save(folder.mask(CAMERA, person, FRAME), mask.save)
    save(folder.depth(CAMERA, FRAME), lambda path: np.save(path, np.ones((4, 6), np.float32)))
    save_npz(folder.camera(CAMERA, FRAME), camera())
    save_npz(folder.smplx(FRAME), parameters())
    return folder


def save(path: Path, write: Callable[[Path], Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path)


def save_npz(path: Path, arrays: dict[str, Any]) -> None:
    save(path, lambda path: np.savez(path, **arrays))


def camera(**changes: Any) -> dict[str, Any]:
    return {"intrinsics": np.eye(3)[None], "extrinsics": np.eye(4)[None, :3]} | changes


def parameters(**changes: Any) -> dict[str, Any]:
    shapes = PARAMETER_SHAPES["smplx"]
    return {name: np.zeros((2, *shape)) for name, shape in shapes.items()} | changes


def test_what_is_there_is_read(folder: SceneFolder) -> None:
    assert load_image(folder, CAMERA, FRAME).shape == (4, 6, 3)
    assert load_mask(folder, CAMERA, 0, FRAME).all()
    assert not load_mask(folder, CAMERA, 1, FRAME).any()
    assert load_depth(folder, CAMERA, FRAME).dtype == np.float32
    assert load_camera(folder, CAMERA, FRAME).extrinsics.shape == (3, 4)
    assert load_body_parameters(folder, FRAME)["body_pose"].shape == (2, 21, 3)
    assert (folder.cameras(), folder.frames(CAMERA)) == ([28], [1])


def test_an_image_may_be_a_png_under_the_same_stem(folder: SceneFolder) -> None:
    path = folder.image(CAMERA, FRAME)
    path.unlink()
    Image.fromarray(np.full((4, 6, 3), 7, np.uint8)).save(path.with_suffix(".png"))
    assert (load_image(folder, CAMERA, FRAME) == 7).all()


READERS: dict[str, tuple[Callable[[SceneFolder], Path], Callable[[SceneFolder], Any]]] = {
    "image": (lambda f: f.image(CAMERA, FRAME), lambda f: load_image(f, CAMERA, FRAME)),
    "mask": (lambda f: f.mask(CAMERA, 0, FRAME), lambda f: load_mask(f, CAMERA, 0, FRAME)),
    "depth": (lambda f: f.depth(CAMERA, FRAME), lambda f: load_depth(f, CAMERA, FRAME)),
    "camera": (lambda f: f.camera(CAMERA, FRAME), lambda f: load_camera(f, CAMERA, FRAME)),
    "smplx": (lambda f: f.smplx(FRAME), lambda f: load_body_parameters(f, FRAME)),
}


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (lambda path: path.unlink(), "No such file or directory; expected"),
        (lambda path: path.write_bytes(b""), "is empty; expected .* skip_frames.csv"),
        (lambda path: path.write_bytes(path.read_bytes()[:-60]), "is not a whole"),
        (lambda path: path.write_bytes(b"not what the name says"), "is not a whole"),
    ],
    ids=["missing", "empty", "truncated", "nonsense"],
)
def test_a_file_that_cannot_be_read_is_named(
    folder: SceneFolder, kind: str, harm: Callable[[Path], Any], expected: str
) -> None:
    path, read = READERS[kind][0](folder), READERS[kind][1]
    harm(path)
    with pytest.raises(SceneDataError, match=expected) as caught:
        read(folder)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"intrinsics": np.eye(3)}, r"intrinsics is float64 \(3, 3\); expected .* \(1, 3, 3\)"),
        ({"extrinsics": np.full((1, 3, 4), np.nan)}, "extrinsics has values that are not finite"),
        ({"intrinsics": np.array(["a"])}, "intrinsics is <U1"),
        ({"intrinsics": np.array([object()])}, "allow_pickle=False"),
    ],
)
def test_a_camera_of_the_wrong_shape_says_what_was_expected(
    folder: SceneFolder, changes: dict[str, Any], expected: str
) -> None:
    save_npz(folder.camera(CAMERA, FRAME), camera(**changes))
    with pytest.raises(SceneDataError, match=expected):
        load_camera(folder, CAMERA, FRAME)


def test_a_file_without_a_key_names_the_key_and_what_it_has(folder: SceneFolder) -> None:
    save_npz(folder.camera(CAMERA, FRAME), {"K": np.eye(3)})
    with pytest.raises(SceneDataError, match="lacks intrinsics, extrinsics; it has K"):
        load_camera(folder, CAMERA, FRAME)


def test_body_parameters_must_be_of_the_same_people(folder: SceneFolder) -> None:
    save_npz(folder.smplx(FRAME), parameters(trans=np.zeros((3, 3))))
    with pytest.raises(SceneDataError, match=r"trans is float64 \(3, 3\); expected .* \(2, 3\)"):
        load_body_parameters(folder, FRAME)


def test_depth_must_be_a_picture_of_floating_point(folder: SceneFolder) -> None:
    np.save(folder.depth(CAMERA, FRAME), np.zeros((4, 6, 1), np.uint8))
    with pytest.raises(SceneDataError, match=r"depth is uint8 \(4, 6, 1\); expected \(H,W\)"):
        load_depth(folder, CAMERA, FRAME)


def text(faults: list[Fault]) -> str:
    return "\n".join(map(str, faults))


def test_a_scene_whose_data_is_all_there_misses_nothing(folder: SceneFolder) -> None:
    assert missing_data(SCENE, folder.root.parent) == []


def test_a_scene_without_a_folder_names_it_and_the_setting(tmp_path: Path) -> None:
    faults = missing_data(SCENE, tmp_path)
    assert str(tmp_path / SCENE.seq_name) in text(faults)
    assert "TS_SCENE_DATA_ROOT" in text(faults)


def test_a_source_camera_without_images_names_those_with(folder: SceneFolder) -> None:
    faults = missing_data(SCENE.model_copy(update={"cam_id": 27}), folder.root.parent)
    assert "images/27" in text(faults)
    assert "28" in text(faults)


def test_every_kind_of_data_that_is_missing_is_reported(folder: SceneFolder) -> None:
    for path in (folder.smplx(FRAME), folder.depth(CAMERA, FRAME)):
        path.unlink()
        path.parent.rmdir()
    faults = missing_data(SCENE, folder.root.parent)
    assert len(faults) == 2
    assert "no body parameters at" in text(faults)
    assert "no depth at" in text(faults)


def test_a_truth_folder_that_is_named_must_be_there(folder: SceneFolder) -> None:
    scene = SCENE.model_copy(update={"raw_gt_dir_path": "truth/dance17"})
    assert "raw_gt_dir_path has no images" in text(missing_data(scene, folder.root.parent))
    (folder.root.parent / "truth/dance17/images/4").mkdir(parents=True)
    assert missing_data(scene, folder.root.parent) == []


def test_a_relative_truth_folder_starts_at_the_scene_data_root(tmp_path: Path) -> None:
    relative, absolute = (
        truth_folder(SCENE.model_copy(update={"raw_gt_dir_path": path}), tmp_path)
        for path in ("truth/a", "/data/truth/a")
    )
    assert relative == SceneFolder(tmp_path / "truth/a")
    assert absolute == SceneFolder(Path("/data/truth/a"))


def test_asking_what_is_missing_imports_nothing_heavy() -> None:
    """The launcher asks it for every scene before anything starts."""
    code = (
        "import sys, pathlib; from preprocess.scene import Scene;"
        "from preprocess.data_checks import missing_data;"
        "scene = Scene(seq_name='a', cam_id=4, synthetic={'action': 'hug', 'people': ['ada']});"
        "assert missing_data(scene, pathlib.Path('.'));"
        "assert not {'numpy', 'torch', 'PIL'} & set(sys.modules)"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True, timeout=60)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
@pytest.mark.parametrize("more", [{}, {"progressive": True, "exif": b"Exif\0\0" + bytes(9000)}])
def test_a_pictures_size_is_found_and_a_cut_one_refused(tmp_path, kind, more):
    """As Pillow says, whatever stands before the size and behind the end; cut anywhere, never."""
    path = tmp_path / "picture"
    noise = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
    Image.fromarray(noise).save(path, kind, **(more if kind == "JPEG" else {}))
    whole = path.read_bytes()
    assert picture_size(path) == (40, 30)
    path.write_bytes(whole + bytes(100))
    assert picture_size(path) == (40, 30)
    for share in (0.01, 0.3, 0.9):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(SceneDataError, match="not a whole picture"):
            picture_size(path)
