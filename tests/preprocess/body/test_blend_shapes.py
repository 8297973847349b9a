"""Expressions, pose-dependent corrections and bodies of women and men, on made-up model files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from preprocess.body.body_model import BodyFileError, load_body, stack_bodies

VERTICES, JOINTS = 40, 24


def model_file(path: Path, *, joints: int = JOINTS, shapes: int = 10, **changes: Any) -> Path:
    """A random model file with the keys of SMPL's or SMPL-X's, corrections included."""
    rng = np.random.default_rng(joints + shapes)
    arrays = {
        "v_template": rng.normal(size=(VERTICES, 3)),
        "shapedirs": rng.normal(size=(VERTICES, 3, shapes)) / 10,
        "posedirs": rng.normal(size=(VERTICES, 3, 9 * (joints - 1))) / 50,
        "J_regressor": rng.dirichlet(np.ones(VERTICES), joints),
        "weights": rng.dirichlet(np.ones(joints), VERTICES),
        "kintree_table": np.array([[2**32 - 1, *range(joints - 1)], range(joints)], np.uint32),
        "f": rng.integers(0, VERTICES, (9, 3)).astype(np.uint32),
    }
    np.savez(path, **(arrays | changes))
    return path


def rotation(vector: np.ndarray) -> np.ndarray:
    """Rodrigues' formula in float64."""
    angle = np.linalg.norm(vector)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def posed_by_definition(file: Path, shape: np.ndarray, pose: np.ndarray, trans: np.ndarray) -> Any:
    """Loper et al. (2015), eq. 2 to 10, vertex by vertex in float64; `shape` has all directions."""
    arrays = {key: value.astype(np.float64) for key, value in np.load(file).items()}
    rotations = [rotation(vector) for vector in pose.astype(np.float64)]
    shaped = arrays["v_template"] + sum(
        value * arrays["shapedirs"][:, :, at] for at, value in enumerate(shape)
    )
    entries = [
        entry - one
        for turn in rotations[1:]
        for entry, one in zip(turn.flat, np.eye(3).flat, strict=True)
    ]
    corrected = shaped + sum(
        entry * arrays["posedirs"][:, :, at] for at, entry in enumerate(entries)
    )
    joints = arrays["J_regressor"] @ shaped
    world: list[tuple[np.ndarray, np.ndarray]] = []
    for joint, turn in enumerate(rotations):
        if joint == 0:
            world.append((turn, joints[0]))
            continue
        above, place = world[joint - 1]  # each joint hangs on the one before
        world.append((above @ turn, place + above @ (joints[joint] - joints[joint - 1])))
    out = np.zeros((VERTICES, 3))
    for vertex in range(VERTICES):
        for joint, (turn, place) in enumerate(world):
            moved = turn @ (corrected[vertex] - joints[joint]) + place
            out[vertex] += arrays["weights"][vertex, joint] * moved
    return out + trans


@pytest.mark.parametrize(
    ("joints", "space", "shapes", "first"),
    [(24, "smpl", 10, 10), (55, "smplx", 400, 300), (55, "smplx", 20, 10)],
)
def test_vertices_agree_with_the_papers_formula(
    tmp_path: Path, joints: int, space: Any, shapes: int, first: int
) -> None:
    """Shape, expression and pose corrections, against loops over vertices in float64."""
    file = model_file(tmp_path / "model.npz", joints=joints, shapes=shapes)
    rng = np.random.default_rng(3)
    betas, expression = rng.normal(size=10), rng.normal(size=6)
    pose, trans = rng.normal(size=(joints, 3)) / 2, rng.normal(size=3)
    shape = np.zeros(shapes)
    shape[:10] = betas
    if first < shapes:
        shape[first : first + 6] = expression
    body = load_body(file, space)
    given = [torch.tensor(each, dtype=torch.float32) for each in (betas, pose, trans, expression)]
    expected = posed_by_definition(file, shape, pose, trans)
    np.testing.assert_allclose(body.vertices(*given).numpy(), expected, atol=2e-5)


def test_a_resting_pose_corrects_nothing(tmp_path: Path) -> None:
    body = load_body(model_file(tmp_path / "model.npz"), "smpl")
    betas, pose = torch.ones(10), torch.zeros(JOINTS, 3)
    pose[0] = torch.tensor([0.4, -0.2, 1.0])  # the root's turn moves the body as a whole
    assert torch.allclose(body.resting(betas, pose), body.shaped(betas), atol=1e-6)
    pose[3, 0] = 0.5
    assert not torch.allclose(body.resting(betas, pose), body.shaped(betas), atol=1e-3)


def test_each_person_may_have_a_body_of_their_own(tmp_path: Path) -> None:
    """Bodies stacked give each person what their own gives; one that is shared is not copied."""
    woman = load_body(model_file(tmp_path / "f.npz"), "smpl")
    template = np.load(tmp_path / "f.npz")["v_template"] * 1.1
    man = load_body(model_file(tmp_path / "m.npz", v_template=template), "smpl")
    both = stack_bodies([woman, man])
    rng = torch.Generator().manual_seed(2)
    betas = torch.randn(3, 2, 10, generator=rng)
    pose, trans = (torch.randn(3, 2, *shape, generator=rng) for shape in ((JOINTS, 3), (3,)))
    together = both.vertices(betas, pose, trans)
    for person, body in enumerate((woman, man)):
        alone = body.vertices(betas[:, person], pose[:, person], trans[:, person])
        assert torch.allclose(together[:, person], alone, atol=1e-5)
        assert torch.equal(both.of_person(person).template, body.template)
    assert stack_bodies([man, man]) is man
    assert man.of_person(1) is man


def test_bodies_of_different_kinds_are_not_stacked(tmp_path: Path) -> None:
    first = load_body(model_file(tmp_path / "a.npz"), "smpl")
    faces = np.zeros((9, 3), np.uint32)
    second = load_body(model_file(tmp_path / "b.npz", f=faces), "smpl")
    with pytest.raises(BodyFileError, match="differ in vertices, faces"):
        stack_bodies([first, second])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"posedirs": np.zeros((VERTICES, 3, 207 - 9))}, r"posedirs has the shape \(40, 3, 198\)"),
        ({"v_template": np.full((VERTICES, 3), np.nan)}, "v_template has values that are not fin"),
    ],
)
def test_a_wrong_array_is_named(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(BodyFileError, match=expected):
        load_body(model_file(tmp_path / "model.npz", **changes), "smpl")


def test_the_corrections_can_be_differentiated_by_the_pose(tmp_path: Path) -> None:
    """Against a central difference in float64."""
    body = load_body(model_file(tmp_path / "model.npz"), "smpl")
    pose = (0.3 * torch.randn(JOINTS, 3, generator=torch.Generator().manual_seed(1))).double()
    doubles = {name: tensor.double() for name, tensor in body._own_tensors().items()}
    body = type(body)(**{**vars(body), **doubles})
    pose.requires_grad_()
    total = body.resting(torch.zeros(10).double(), pose).square().sum()
    (gradient,) = torch.autograd.grad(total, pose)
    step = torch.zeros_like(pose)
    step[5, 1] = 1e-6
    ahead, behind = (
        body.resting(torch.zeros(10).double(), (pose + sign * step).detach()).square().sum()
        for sign in (1, -1)
    )
    assert gradient[5, 1].item() == pytest.approx(float(ahead - behind) / 2e-6, rel=1e-5)
