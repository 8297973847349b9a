"""A folder in the public layout of Hi4D is trained as it is: one camera file, SMPL, no depth."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scene_files import share_cameras

from preprocess.body.body_model import BODY_FILE
from preprocess.layout import SceneFolder

WITHOUT_DEPTH = "train.optimization.loss.depth=0"


@dataclass(frozen=True)
class Hi4dScene:
    """The tiny scene with its training and truth folders rewritten as Hi4D has them."""

    tiny: object
    data: Path
    scene_file: Path

    @property
    def folder(self) -> SceneFolder:
        return SceneFolder(self.data / self.tiny.name)

    def train(self, *overrides: str, exp_name: str = "exp") -> int:
        places = (f"shared.scene_data_root={self.data}", f"shared.scene_file={self.scene_file}")
        return self.tiny.train(*places, *overrides, exp_name=exp_name)

    def set_genders(self, genders: list[str]) -> None:
        scene = json.loads(self.scene_file.read_text("utf-8"))
        self.scene_file.write_text(json.dumps({**scene, "genders": genders}), "utf-8")


@pytest.fixture
def hi4d(tiny_scene, tmp_path):
    data = tmp_path / "hi4d"
    shutil.copytree(tiny_scene.data, data)
    for folder in (data / tiny_scene.name, data / "truth" / tiny_scene.name):
        as_hi4d(SceneFolder(folder))
    scene = json.loads(tiny_scene.scene_file().read_text(encoding="utf-8"))
    del scene["synthetic"]
    file = tmp_path / "scene.json"
    file.write_text(json.dumps(scene), encoding="utf-8")
    return Hi4dScene(tiny_scene, data, file)


def as_hi4d(folder):
    """Rewrite a folder: one camera file, SMPL with a row of rotations a person, nothing more."""
    share_cameras(folder, 1)
    for path in (folder.root / "smpl").iterdir():
        arrays = dict(np.load(path))
        arrays["body_pose"] = arrays["body_pose"].reshape(2, 69)
        np.savez(path, **arrays, verts=np.zeros((2, 6890, 3)))
    for name in ("all_cameras", "smplx", "depths"):
        shutil.rmtree(folder.root / name, ignore_errors=True)


def test_a_hi4d_folder_trains_in_smpls_space(hi4d):
    """Cameras, poses and images are found; pose errors are those of SMPL's joints."""
    assert hi4d.train(WITHOUT_DEPTH, "train.optimization.epochs=8") == 0
    metrics = hi4d.tiny.metrics()
    assert metrics["psnr"] > metrics["before"]["psnr"] + 0.5
    assert 0 < metrics["mpjpe_mm"] < 100


def test_without_depth_the_remedy_says_what_is_lost_and_how_to_go_on(hi4d, capsys):
    """Exit status 2 before anything is read."""
    assert hi4d.train() == 2
    said = capsys.readouterr().err
    assert "no depth at" in said
    assert "train.optimization.loss.depth=0" in said
    assert "silhouettes alone" in said


def test_a_camera_that_the_file_lacks_is_named_with_those_it_has(hi4d, capsys):
    np.savez(
        hi4d.folder.shared_cameras,
        ids=np.array([4, 16]),
        intrinsics=np.stack([np.eye(3)] * 2),
        extrinsics=np.zeros((2, 3, 4)),
    )
    assert hi4d.train(WITHOUT_DEPTH) == 2
    assert "rgb_cameras.npz has no camera 28; it has 4, 16" in capsys.readouterr().err


def test_camera_ids_that_are_no_numbers_are_said(hi4d, capsys):
    arrays = dict(np.load(hi4d.folder.shared_cameras))
    np.savez(hi4d.folder.shared_cameras, **(arrays | {"ids": arrays["ids"].astype(str)}))
    assert hi4d.train(WITHOUT_DEPTH) == 2
    assert "rgb_cameras.npz: ids is <U" in capsys.readouterr().err


def taller(path: Path) -> Path:
    """The bundled body, a tenth larger: a man's file of another model."""
    arrays = dict(np.load(BODY_FILE))
    np.savez(path, **(arrays | {"v_template": arrays["v_template"] * np.float32(1.1)}))
    return path


@pytest.mark.parametrize("source", ["json", "meta"])
def test_each_person_has_the_body_of_their_gender(hi4d, tmp_path, source):
    """The man's Gaussians start on the man's body, the woman's on everyone's."""
    if source == "json":
        hi4d.set_genders(["female", "male"])
    else:
        np.savez(hi4d.folder.meta, genders=np.array(["female", "male"]))
    files = f"model.smpl_male_body_file={taller(tmp_path / 'man.npz')}"
    for exp_name, overrides in {"one": (), "own": (files,)}.items():
        short = (WITHOUT_DEPTH, "train.optimization.epochs=1")
        assert hi4d.train(*short, *overrides, exp_name=exp_name) == 0
    heights = {name: [height(hi4d, name, person) for person in (0, 1)] for name in ("one", "own")}
    assert heights["own"][0] == pytest.approx(heights["one"][0], rel=0.01)
    assert heights["own"][1] == pytest.approx(heights["one"][1] * 1.1, rel=0.01)


def height(hi4d, exp_name, person):
    content = (hi4d.tiny.output(exp_name) / f"person_{person:02d}.ply").read_bytes()
    _, _, body = content.partition(b"end_header\n")
    return np.ptp(np.frombuffer(body, dtype="<f4").reshape(250, -1)[:, 1])


@pytest.mark.parametrize(
    ("genders", "said"),
    [
        (np.array(["female"]), "genders: female; expected 2, one a person"),
        (np.array(["female", "unknown"]), "unknown; valid: neutral, female, male"),
        (np.array(["female", None], dtype=object), 'write "genders": ["female", "male"]'),
    ],
)
def test_genders_that_cannot_be_used_are_named(hi4d, capsys, genders, said):
    np.savez(hi4d.folder.meta, genders=genders)
    assert hi4d.train(WITHOUT_DEPTH) == 2
    assert said in capsys.readouterr().err
