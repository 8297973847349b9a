"""Scene data that can't be trained on is refused before training: file, value and remedy."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from preprocess import content_checks
from preprocess.body.body_model import load_body
from preprocess.faults import FaultsError
from preprocess.geometry_checks import is_inside
from preprocess.layout import SceneFolder
from training.trainer.config.compose import load_config
from training.trainer.input_checks import check_inputs

SOURCE = 28


@dataclass(frozen=True)
class Damaged:
    """A copy of the tiny scene's data, to be harmed."""

    tiny: object
    data: Path

    @property
    def folder(self) -> SceneFolder:
        return SceneFolder(self.data / self.tiny.name)

    @property
    def frames(self) -> list[int]:
        return [frame for frame in self.folder.frames(SOURCE) if frame != self.tiny.skipped]

    def faults(self, *overrides: str) -> str:
        """What is said of the data; empty where it can be trained on."""
        place = f"shared.scene_data_root={self.data}"
        try:
            check_inputs(load_config(self.tiny.arguments(place, *overrides)))
        except FaultsError as error:
            return str(error)
        return ""

    def change_pictures(self, paths, change) -> None:
        for path in paths:
            with Image.open(path) as picture:
                made = change(np.asarray(picture))
            Image.fromarray(made).save(path)

    def change_arrays(self, paths, **changes) -> None:
        for path in paths:
            arrays = dict(np.load(path))
            np.savez(path, **{key: changes.get(key, lambda a: a)(arrays[key]) for key in arrays})

    def masks(self, person, frames=None) -> list[Path]:
        return [self.folder.mask(SOURCE, person, frame) for frame in frames or self.frames]

    def bodies(self) -> list[Path]:
        return [self.folder.smplx(frame) for frame in self.frames]

    def cameras(self) -> list[Path]:
        return [self.folder.camera(SOURCE, frame) for frame in self.frames]


@pytest.fixture
def damaged(tiny_scene, tmp_path):
    data = tmp_path / "scenes"
    shutil.copytree(tiny_scene.data, data)
    return Damaged(tiny_scene, data)


def leave_one_frame(damaged):
    skipped = ",".join(map(str, [*damaged.frames[1:], damaged.tiny.skipped]))
    (damaged.folder.root / "skip_frames.csv").write_text(skipped, encoding="utf-8")


def scale_depth(damaged, factor):
    for frame in damaged.frames:
        path = damaged.folder.depth(SOURCE, frame)
        np.save(path, np.load(path) * np.float32(factor))


def camera_at(point):
    """Extrinsics (1,3,4) at a world point that look along -z, as the tiny scene's camera does."""
    turn = np.diag([1.0, -1.0, -1.0])
    return np.concatenate([turn, -turn @ np.array(point)[:, None]], axis=1)[None]


def put_camera_into_a_body(damaged):
    bodies = load_body()
    arrays = np.load(damaged.folder.smplx(1))
    joints = bodies.joint_transforms(
        torch.from_numpy(arrays["betas"]),
        torch.from_numpy(np.concatenate([arrays["root_pose"][:, None], arrays["body_pose"]], 1)),
        torch.from_numpy(arrays["trans"]),
    )[1]
    inside = joints[1, 6].numpy().astype(float)  # the middle of person 1's spine
    damaged.change_arrays(damaged.cameras(), extrinsics=lambda _: camera_at(inside))


def fit_to_held_out_arms(damaged):
    """Give the poses that a model would have whose arms rest held out, as SMPL's do."""
    for path in damaged.bodies():
        arrays = dict(np.load(path))
        for shoulder, angle in ((15, -0.9), (16, 0.9)):  # of body_pose, which lacks the root
            import roma

            pose = torch.from_numpy(arrays["body_pose"][:, shoulder])
            turn = roma.rotvec_to_rotmat(torch.tensor([0.0, 0.0, angle]))
            turned = roma.rotvec_to_rotmat(pose) @ turn
            arrays["body_pose"][:, shoulder] = roma.rotmat_to_rotvec(turned).numpy()
        np.savez(path, **arrays)


def swap_people(damaged):
    for frame in damaged.frames:
        first, second = (damaged.folder.mask(SOURCE, person, frame) for person in (0, 1))
        first.rename(first.with_suffix(".tmp"))
        second.rename(first)
        first.with_suffix(".tmp").rename(second)


HARMS = {
    "one frame": (leave_one_frame, ["fewer than 2 frames to train on", "camera 28: 1"]),
    "a person never visible": (
        lambda d: d.change_pictures(d.masks(1), np.zeros_like),
        ["person 1 is seen in no frame of the source camera", "img_seg_mask/28/1: 5 empty masks"],
    ),
    "all masks empty": (
        lambda d: d.change_pictures(d.masks("all"), np.zeros_like),
        ["28/all: all masks that were looked at are empty", "segment the images again"],
    ),
    "masks of ones": (
        lambda d: d.change_pictures(d.masks("all"), lambda mask: mask // 255),
        ["masks that were looked at are empty", "its highest value is 1: write 255"],
    ),
    "one empty mask": (
        lambda d: d.change_pictures(d.masks("all", [1]), np.zeros_like),
        ["all/000001.png: an empty mask, but people are in view", "skip_frames.csv"],
    ),
    "a mask that is everything": (
        lambda d: d.change_pictures(d.masks("all", [2]), lambda mask: mask | 255),
        ["all/000002.png: the mask covers everything"],
    ),
    "a camera inside a body": (
        put_camera_into_a_body,
        ["camera 28 is inside the body of person 1"],
    ),
    "depth in millimetres": (
        lambda d: scale_depth(d, 1000),
        ["depths/28: depth is", "times the bodies' distance", "millimetres", "write metres"],
    ),
    "depth in centimetres": (lambda d: scale_depth(d, 100), ["centimetres"]),
    "another body model": (
        fit_to_held_out_arms,
        ["the poses are of another body model", "if arms rested 46° higher", "set model.body_file"],
    ),
    "translations in millimetres": (
        lambda d: d.change_arrays(d.bodies(), trans=lambda trans: trans * 1000),
        ["bodies and masks hardly overlap"],
    ),
    "a camera that looks the other way": (
        lambda d: d.change_arrays(
            d.cameras(), extrinsics=lambda matrix: np.array([[-1.0], [1], [-1]]) * matrix
        ),
        ["bodies and masks hardly overlap: 0%", "people are behind the camera"],
    ),
    "people in another order": (swap_people, ["person 0's body is where person 1's mask is"]),
    "images of different sizes": (
        lambda d: d.change_pictures(
            [d.folder.image(SOURCE, 3), *(d.folder.mask(SOURCE, p, 3) for p in (0, 1, "all"))],
            lambda picture: picture[:48],
        ),
        ["images/28: images have different sizes", "64x64 in 4 frames, 64x48 in 1", "000003.jpg"],
    ),
    "a mask of another size": (
        lambda d: d.change_pictures(d.masks(0, [5]), lambda picture: picture[:48]),
        ["0/000005.png is 64x48, its image 64x64"],
    ),
    "intrinsics of larger images": (
        lambda d: d.change_arrays(d.cameras(), intrinsics=lambda k: k * [[[4], [4], [1]]]),
        ["of another image size: the principal point lies outside: (128, 128) of 64x64"],
    ),
    "no rotation": (
        lambda d: d.change_arrays(d.cameras(), extrinsics=lambda e: e * 2),
        ["28/000001.npz: extrinsics have no rotation", "write [R|t]"],
    ),
    "NaN in poses": (
        lambda d: d.change_arrays(d.bodies()[2:3], body_pose=lambda pose: pose * np.nan),
        ["smplx/000003.npz: body_pose has values that are not finite: 126 of 126"],
    ),
    "infinity in a camera": (
        lambda d: d.change_arrays(d.cameras()[:1], intrinsics=lambda k: k / 0.0),
        ["28/000001.npz: intrinsics has values that are not finite"],
    ),
    "NaN in depth": (
        lambda d: scale_depth(d, np.nan),
        ["depth has values that are not finite", "write 0 where it is unknown"],
    ),
    "people come and go": (
        lambda d: d.change_arrays(
            d.bodies()[:2], **dict.fromkeys(np.load(d.bodies()[0]), lambda array: array[:1])
        ),
        ["smplx: the number of people differs between frames", "1 in frame 1, 2 in frame 3"],
    ),
}


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
@pytest.mark.parametrize("harm", HARMS)
def test_bad_input_is_refused_with_file_value_and_remedy(damaged, harm):
    inflict, said = HARMS[harm]
    inflict(damaged)
    found = damaged.faults()
    assert [text for text in said if text not in found] == [], found


def test_good_data_is_trained_on_without_a_word(damaged, capsys):
    """Neither the estimates nor the truth that they come from are doubted."""
    assert damaged.faults() == ""
    for frame in damaged.frames:
        truth = SceneFolder(damaged.data / "truth" / damaged.tiny.name)
        shutil.copy(truth.smplx(frame), damaged.folder.smplx(frame))
    assert damaged.faults() == ""
    assert capsys.readouterr().err == ""


def test_true_bodies_that_are_not_evaluated_may_be_missing(damaged):
    """Those in SMPL's space, where only the poses' own space is compared."""
    (damaged.data / "truth" / damaged.tiny.name / "smpl/000003.npz").unlink()
    assert "smpl/000003.npz: No such file" in damaged.faults()
    assert damaged.faults("train.evaluation.pose_eval.eval_smpl=false") == ""


def test_all_faults_are_said_at_once_with_exit_status_2(damaged, capsys):
    """Those of files, of pictures and of what fits together, beside one of the configuration."""
    for harm in ("NaN in poses", "a mask that is everything", "depth in millimetres"):
        HARMS[harm][0](damaged)
    wrong = "train.evaluation.held_out_cameras=[5]"
    assert damaged.tiny.train(f"shared.scene_data_root={damaged.data}", wrong) == 2
    said = capsys.readouterr().err
    for text in ("000003.npz: body_pose", "covers everything", "millimetres", "held_out_cameras"):
        assert text in said
    assert not (damaged.tiny.output() / "checkpoints").exists()


def test_a_start_reads_few_frames_whole_and_the_rest_when_they_are_needed(
    damaged, monkeypatch, capsys
):
    """A later frame's broken mask ends the run with status 1 and the file's name.

    Its header and end are well; a file that is cut is found before anything is trained.
    """
    monkeypatch.setattr(content_checks, "SAMPLE_FRAMES", 2)
    read = []
    real = content_checks.load_image
    monkeypatch.setattr(content_checks, "load_image", lambda *at: read.append(at[2]) or real(*at))
    path = damaged.folder.mask(SOURCE, 0, 3)
    content = path.read_bytes()
    path.write_bytes(content[:60] + bytes(20) + content[80:])
    assert damaged.tiny.train(f"shared.scene_data_root={damaged.data}") == 1
    assert read == [1, 6]
    assert str(path) in capsys.readouterr().err


def test_a_disk_that_fails_is_no_fault_of_the_data(damaged, monkeypatch, capsys):
    """Exit status 1, so that the scene is tried again."""

    def fail(*_args, **_named):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(np, "load", fail)
    assert damaged.tiny.train(f"shared.scene_data_root={damaged.data}") == 1
    assert "Input/output error" in capsys.readouterr().err


def test_joints_that_a_file_has_itself_are_compared_with_the_models(damaged, capsys):
    """Hi4D's files have joints_3d: another body model, or gender, gives others."""
    shutil.rmtree(damaged.folder.root / "smplx")
    body = load_body(space="smpl")
    for frame in damaged.frames:
        path = damaged.folder.smpl(frame)
        arrays = dict(np.load(path))
        pose = np.concatenate([arrays["global_orient"][:, None], arrays["body_pose"]], axis=1)
        given = [torch.from_numpy(each) for each in (arrays["betas"], pose, arrays["transl"])]
        joints = body.joint_transforms(*given)[1].numpy()
        np.savez(path, **arrays, joints_3d=joints)
    assert damaged.faults() == ""
    assert capsys.readouterr().err == ""
    damaged.change_arrays(
        [damaged.folder.smpl(frame) for frame in damaged.frames],
        joints_3d=lambda joints: joints + np.array([0, 0.05, 0]),
    )
    assert damaged.faults() == ""
    assert "joints are 50 mm from joints_3d" in capsys.readouterr().err


def test_depth_that_some_frames_lack_is_said(damaged, capsys):
    """What is lost, and how to switch depth off; nothing where it is off."""
    damaged.folder.depth(SOURCE, 3).unlink()
    assert damaged.faults() == ""
    said = capsys.readouterr().err
    assert "depths/28/000003.npy: no depth of 1 of 5 frames" in said
    assert "train.optimization.loss.depth=0" in said
    assert damaged.faults("train.optimization.loss.depth=0") == ""
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("coefficients", "said"),
    [
        (np.array([[0.5, 0, 0, 0, 0]]), "shift an image's corner by"),
        (np.array(0.5), "dist_coeffs can't be used"),
        (np.array([["none"]]), "dist_coeffs can't be used"),
    ],
)
def test_a_lens_that_distorts_is_said(damaged, capsys, coefficients, said):
    """Hi4D's dist_coeffs, by how far they move a corner: k1 alone, by hand."""
    camera = np.load(damaged.folder.camera(SOURCE, 1))
    damaged.folder.shared_cameras.parent.mkdir()
    shutil.rmtree(damaged.folder.root / "all_cameras")
    np.savez(
        damaged.folder.shared_cameras,
        ids=np.array([SOURCE]),
        **{key: camera[key] for key in ("intrinsics", "extrinsics")},
        dist_coeffs=coefficients,
    )
    assert damaged.faults() == ""
    focal = camera["intrinsics"][0, 0, 0]
    corner = np.hypot(32 / focal, 32 / focal)
    moved = f" {focal * 0.5 * corner**3:.0f} pixels" if "shift" in said else ""
    assert said + moved in capsys.readouterr().err


def test_a_point_is_inside_a_body_by_its_winding_number():
    """A cube of side 2, and the bundled body at its spine, its armpit's outside and above."""
    corners = np.array([[x, y, z] for x in (-1.0, 1) for y in (-1.0, 1) for z in (-1.0, 1)])
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = np.array([face for a, b, c, d in quads for face in ((a, b, c), (a, c, d))])
    assert is_inside(np.array([0.9, -0.9, 0.9]), corners, faces)
    assert not is_inside(np.array([1.1, 0, 0]), corners, faces)
    body = load_body()
    joints = (body.regressor @ body.template).numpy()
    vertices, faces = body.template.numpy(), body.faces.numpy()
    assert is_inside(joints[6], vertices, faces)
    assert not is_inside(joints[15] + [0, 0.5, 0], vertices, faces)
