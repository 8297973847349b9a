"""The body model: the shipped asset, linear blend skinning, and SMPL-X files of the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from preprocess.body.body_model import BODY_FILE, BodyFileError, BodyModel, load_body, pose_vector
from preprocess.body.joints import BODY_JOINTS

LEFT_ELBOW, LEFT_WRIST, HEAD = (
    BODY_JOINTS.index(name) for name in ("left_elbow", "left_wrist", "head")
)


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_body()


def rest(body: BodyModel) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.zeros(10), torch.zeros(body.joint_count, 3), torch.zeros(3)


def random_pose(body: BodyModel, *batch: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = ((*batch, 10), (*batch, body.joint_count, 3), (*batch, 3))
    betas, pose, trans = (torch.randn(shape, generator=generator) for shape in shapes)
    return betas, 0.5 * pose, trans


def smplx_like(path: Path, joints: int = 55, **changes: Any) -> Path:
    """A model file as SMPL-X writes it: unsigned parents, 20 shape directions, extra keys."""
    rng = np.random.default_rng(0)
    vertices = 60
    arrays = {
        "v_template": rng.normal(size=(vertices, 3)),
        "shapedirs": rng.normal(size=(vertices, 3, 20)) / 100,
        "J_regressor": rng.dirichlet(np.ones(vertices), joints),
        "weights": rng.dirichlet(np.ones(joints), vertices),
        "kintree_table": np.array([[2**32 - 1, *range(joints - 1)], range(joints)], np.uint32),
        "f": rng.integers(0, vertices, (9, 3)).astype(np.uint32),
        "posedirs": np.zeros((vertices, 3, 9 * (joints - 1))),
    }
    np.savez(path, **{key: value for key, value in (arrays | changes).items() if value is not None})
    return path


def test_the_shipped_body_is_small_and_human() -> None:
    """Under 300 kB; upright, facing +z, the left side at +x, 1.6 to 2 m tall."""
    assert BODY_FILE.stat().st_size < 300_000
    body = load_body()
    joints = body.regressor @ body.template
    height = body.template[:, 1].max() - body.template[:, 1].min()
    at = dict(zip(BODY_JOINTS, joints, strict=True))
    assert 1.6 < height < 2.0
    assert at["head"][1] > at["pelvis"][1] > at["left_knee"][1] > at["left_ankle"][1]
    assert at["left_wrist"][0] > 0.3
    assert at["right_wrist"][0] < -0.3
    assert at["left_foot"][2] > at["left_ankle"][2] + 0.05
    assert torch.allclose(body.weights.sum(1), torch.ones(len(body.weights)), atol=1e-6)
    assert body.faces.max() < len(body.template)


def test_the_faces_are_counter_clockwise_seen_from_outside(body: BodyModel) -> None:
    """The volume enclosed is positive, and that of a person."""
    a, b, c = body.template[body.faces].unbind(1)
    volume = (a * torch.linalg.cross(b, c)).sum() / 6
    assert 0.04 < volume < 0.1


def test_at_rest_the_vertices_are_the_template_moved(body: BodyModel) -> None:
    betas, pose, _ = rest(body)
    trans = torch.tensor([1.0, 2.0, 3.0])
    assert torch.allclose(body.vertices(betas, pose, trans), body.template + trans, atol=1e-5)


def test_skinning_agrees_with_the_definition(body: BodyModel) -> None:
    """Against homogeneous matrices multiplied down the chain in float64, one joint at a time."""
    betas, pose, trans = random_pose(body)
    shaped = body.shaped(betas).double()
    joints = body.regressor.double() @ shaped
    chain: list[torch.Tensor] = []
    for joint, parent in enumerate(body.parents):
        x, y, z = pose[joint].double().tolist()
        local = torch.eye(4, dtype=torch.float64)
        cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
        local[:3, :3] = torch.linalg.matrix_exp(cross)
        local[:3, 3] = joints[joint] - (joints[parent] if joint else -trans)
        chain.append(chain[parent] @ local if joint else local)
    expected = torch.zeros_like(shaped)
    for joint, transform in enumerate(chain):
        moved = (shaped - joints[joint]) @ transform[:3, :3].T + transform[:3, 3]
        expected += body.weights[:, joint : joint + 1].double() * moved
    actual = body.vertices(betas, pose, trans).double()
    assert torch.allclose(actual, expected, atol=1e-5)
    assert torch.allclose(
        body.joint_transforms(betas, pose, trans)[1].double(),
        torch.stack([transform[:3, 3] for transform in chain]),
        atol=1e-5,
    )


def test_bending_the_elbow_moves_the_forearm_only(body: BodyModel) -> None:
    betas, pose, trans = rest(body)
    bent = pose.clone()
    bent[LEFT_ELBOW, 2] = 1.0
    joints = [body.joint_transforms(betas, each, trans)[1] for each in (pose, bent)]
    moved = (joints[1] - joints[0]).norm(dim=1) > 1e-4
    assert [BODY_JOINTS[index] for index in moved.nonzero().flatten()] == ["left_wrist"]
    shift = (body.vertices(betas, bent, trans) - body.vertices(betas, pose, trans)).norm(dim=1)
    assert shift[body.weights[:, LEFT_WRIST] > 0.5].min() > 0.1
    assert shift[body.weights[:, HEAD] > 0.5].max() < 1e-5


def test_joints_of_every_shape_stay_where_the_skeleton_has_them(body: BodyModel) -> None:
    """The regressor is exact: a joint moves smoothly with the flesh around it."""
    tall = body.shaped(torch.tensor([0.0, 0.0, 2.0]))
    joints, template = body.regressor @ tall, body.regressor @ body.template
    assert 0.1 < (joints[HEAD] - template[HEAD])[1] < 0.4
    near = (tall - joints[HEAD]).norm(dim=1).min()
    assert near < 0.1


def test_many_people_at_once_are_the_same_as_one_after_the_other(body: BodyModel) -> None:
    betas, pose, trans = random_pose(body, 2, 3)
    together = body.vertices(betas, pose, trans)
    one = body.vertices(betas[1, 2], pose[1, 2], trans[1, 2])
    assert together.shape == (2, 3, len(body.template), 3)
    assert torch.allclose(together[1, 2], one, atol=1e-5)


def test_vertices_can_be_differentiated_by_pose_and_place_even_at_rest(body: BodyModel) -> None:
    betas, pose, trans = rest(body)
    pose.requires_grad_()
    trans.requires_grad_()
    x = body.vertices(betas, pose, trans)[body.weights[:, LEFT_WRIST] > 0.5, 1].mean()
    by_pose, by_place = torch.autograd.grad(x, [pose, trans])
    step = torch.zeros_like(pose)
    step[LEFT_ELBOW, 2] = 1e-2
    ahead, behind = (
        body.vertices(betas, (pose + sign * step).detach(), trans.detach()) for sign in (1, -1)
    )
    rows = body.weights[:, LEFT_WRIST] > 0.5
    numeric = (ahead[rows, 1].mean() - behind[rows, 1].mean()) / 2e-2
    assert by_pose.isfinite().all()
    assert by_pose[LEFT_ELBOW, 2].item() == pytest.approx(numeric.item(), rel=1e-2)
    assert by_place.tolist() == pytest.approx([0, 1, 0], abs=1e-4)


def test_both_spaces_give_the_same_body_while_the_hands_rest() -> None:
    smplx, smpl = load_body(space="smplx"), load_body(space="smpl")
    assert (smplx.joint_count, smpl.joint_count) == (22, 24)
    betas, pose, trans = random_pose(smplx)
    with_hands = torch.cat([pose, torch.zeros(2, 3)])
    expected = smpl.vertices(betas, with_hands, trans)
    assert torch.allclose(smplx.vertices(betas, pose, trans), expected, atol=1e-5)


def test_a_model_file_as_smplx_writes_it_loads(tmp_path: Path) -> None:
    model = load_body(smplx_like(tmp_path / "SMPLX_NEUTRAL.npz"))
    assert model.joint_count == 55
    assert model.parents[0] == -1
    assert model.shaped(torch.ones(10)).shape == (60, 3)


def test_the_pose_of_smplx_parameters_has_its_joints_in_the_models_order() -> None:
    """root, body, jaw, eyes, left hand, right hand: 55 joints, as many as the model takes count."""
    shapes = {"root": 1, "body": 21, "jaw": 1, "leye": 1, "reye": 1, "lhand": 15, "rhand": 15}
    parameters = {}
    for number, (part, count) in enumerate(shapes.items()):
        shape = (2, count, 3) if count > 1 else (2, 3)
        parameters[f"{part}_pose"] = np.full(shape, number, np.float32)
    pose = pose_vector(parameters)
    assert pose[1, :, 0].tolist() == [0] + [1] * 21 + [2, 3, 4] + [5] * 15 + [6] * 15
    body = load_body()
    everyone = body.vertices(torch.zeros(2, 10), pose * 0.1, torch.zeros(2, 3))
    assert everyone.shape == (2, len(body.template), 3)


def test_a_missing_body_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BodyFileError, match=r"absent\.npz can't be read.*No such file.*expected"):
        load_body(tmp_path / "absent.npz")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"weights": None}, "weights"),
        ({"J_regressor": np.array([object()])}, "allow_pickle"),
        ({"J_regressor": np.zeros((55, 7))}, r"J_regressor has the shape \(55, 7\), expected"),
        ({"joints": 30}, "has 30 joints; a model for smplx has 55 or 22"),
    ],
)
def test_a_file_that_is_no_body_model_says_why(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    path = smplx_like(tmp_path / "model.npz", **changes)
    with pytest.raises(BodyFileError, match=expected):
        load_body(path)
