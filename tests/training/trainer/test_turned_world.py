"""Training doesn't depend on how the world's axes lie: y up as in a studio, or a camera's own."""

from __future__ import annotations

import math
import shutil

import numpy as np
import pytest
import roma
import torch

from preprocess.body.body_model import load_body
from preprocess.layout import SceneFolder

QUICK = ("train.optimization.epochs=8", "model.gaussians_per_person=250")


def rewritten(path, **changed):
    """Write an .npz again with some arrays replaced, in their former types."""
    with np.load(path) as file:
        arrays = dict(file)
    changed = {key: np.asarray(value, arrays[key].dtype) for key, value in changed.items()}
    np.savez(path, **(arrays | changed))


def turned_root(rotvec, turn):
    return roma.rotmat_to_rotvec(turn @ roma.rotvec_to_rotmat(torch.from_numpy(rotvec)))


def turn_people(path, turn, keys):
    """Turn people's bodies about the world's origin: their pelvis moves, and what hangs on it."""
    root, translation = keys
    with np.load(path) as file:
        betas, pose, trans = (torch.from_numpy(file[key]) for key in ("betas", root, translation))
    body = load_body()
    pelvis = (body.regressor @ body.shaped(betas))[:, 0]
    moved = (pelvis + trans) @ turn.T - pelvis
    rewritten(path, **{root: turned_root(pose.numpy(), turn), translation: moved})


def turn_world(folder, turn):
    """Turn all cameras and people of a folder of scene data about the world's origin."""
    for path in (folder.root / "all_cameras").rglob("*.npz"):
        with np.load(path) as file:
            extrinsics = file["extrinsics"]
        rotated = extrinsics[..., :3] @ turn.numpy().T
        rewritten(path, extrinsics=np.concatenate([rotated, extrinsics[..., 3:]], axis=-1))
    for space, keys in (("smplx", ("root_pose", "trans")), ("smpl", ("global_orient", "transl"))):
        for path in (folder.root / space).rglob("*.npz"):
            turn_people(path, turn, keys)


@pytest.fixture(scope="module")
def expected(module_tiny_scene):
    """The metrics of the scene as it is."""
    assert module_tiny_scene.train(*QUICK) == 0
    return module_tiny_scene.metrics()


@pytest.mark.parametrize("degrees", [90, 180])
def test_a_turn_of_the_world_changes_no_result(tiny_scene, tmp_path, expected, degrees):
    """About x, so that people hang upside down where estimators in camera axes put them.

    Root orientations are then near half a turn, where axis-angle vectors flip their sign.
    """
    turned = tmp_path / "turned"
    shutil.copytree(tiny_scene.data, turned)
    turn = roma.rotvec_to_rotmat(torch.tensor([math.radians(degrees), 0.0, 0.0]))
    for folder in (turned / tiny_scene.name, turned / "truth" / tiny_scene.name):
        turn_world(SceneFolder(folder), turn)
    where = f"shared.scene_data_root={turned}"
    assert tiny_scene.train(*QUICK, where, exp_name="turned") == 0
    found = tiny_scene.metrics("turned")
    before = expected["before"]
    assert found["before"]["mpjpe_mm"] == pytest.approx(before["mpjpe_mm"], abs=1e-2)
    assert found["before"]["psnr"] == pytest.approx(before["psnr"], abs=1e-3)
    assert found["mpjpe_mm"] == pytest.approx(expected["mpjpe_mm"], abs=0.2)
    assert found["psnr"] == pytest.approx(expected["psnr"], abs=0.02)
