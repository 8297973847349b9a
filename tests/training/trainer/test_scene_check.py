"""What `training-scheduler check` finds in a scene by decoding, and its picture."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from preprocess.layout import SceneFolder
from preprocess.registry import load_scenes
from preprocess.scene_picture import PEOPLE, SOURCE
from training.trainer.config.compose import load_config
from training.trainer.scene_check import How, check_scene


@pytest.fixture
def check(tiny_scene, tmp_path):
    """Check a copy of the tiny scene, which a test may harm."""
    data = tmp_path / "scenes"
    shutil.copytree(tiny_scene.data, data)
    (scene,) = load_scenes(tiny_scene.registry)
    config = load_config(tiny_scene.arguments())

    def run(read, harm=lambda _folder: None):
        harm(SceneFolder(data / scene.seq_name))
        return check_scene(config, scene, data, How(read, tmp_path / "pictures"))

    return run


def test_good_data_has_a_picture_of_bodies_and_cameras(check):
    """No fault and no doubt; both people's colours beside the source camera's in the picture."""
    found = check("frames")
    assert (found.faults, found.doubts) == ([], [])
    assert "camera 28" in found.summary
    with Image.open(found.picture) as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3).astype(int)
    for color in (*PEOPLE[:2], SOURCE):
        near = np.abs(pixels - color).max(axis=1) < 40
        assert near.sum() > 50, color


def break_pixels(folder):
    """Break a mask's compressed pixels: its header and its end are well."""
    path = folder.mask(28, 0, 3)
    content = path.read_bytes()
    path.write_bytes(content[:60] + bytes(20) + content[80:])


@pytest.mark.parametrize(("read", "finds"), [("headers", False), ("pixels", True)])
def test_pixels_are_decoded_where_they_are_asked_for(check, read, finds):
    found = check(read, break_pixels)
    assert (
        any("0/000003.png is not a whole picture" in fault.what for fault in found.faults) == finds
    )
    assert (found.picture is None) == (read == "headers")


def turn_a_camera_away(folder):
    """Have the truth's camera 4 look the other way, and leave no place for the picture."""
    truth = SceneFolder(folder.root.parent / "truth" / folder.root.name)
    for frame in truth.frames(4):
        arrays = dict(np.load(truth.camera(4, frame)))
        turned = arrays["extrinsics"] * np.array([[-1.0], [1], [-1]])
        np.savez(truth.camera(4, frame), **(arrays | {"extrinsics": turned}))
    (folder.root.parent.parent / "pictures").touch()


def test_a_camera_that_sees_nobody_and_a_lost_picture_are_doubts(check):
    found = check("frames", turn_a_camera_away)
    assert found.faults == []
    assert "camera 4 of the truth sees nobody" in found.doubts
    assert any("the picture can't be written" in line for line in found.doubts)
    assert found.picture is None


def test_what_cannot_be_opened_is_named(check, monkeypatch):
    """A folder without permission, below which nothing can be asked for."""

    def refuse(path, *_args):
        if path.name == "28":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    real = Path.is_dir
    monkeypatch.setattr(Path, "is_dir", refuse)
    (fault,) = check("headers").faults
    assert "images/28 can't be read" in fault.what
    assert fault.value == "Permission denied"
