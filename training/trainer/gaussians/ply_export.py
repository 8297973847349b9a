"""Write people's Gaussians as standard 3DGS .ply files.

Each person in the canonical pose, the arms and legs apart, in viewers' axes; and everyone in the
pose of a frame, in the world that the cameras stand in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import roma
import torch
from torch import Tensor
from torch.nn import functional

from training.system.atomic_write import write_atomically
from training.trainer.gaussians.gsplat_adapter import spherical_harmonics
from training.trainer.gaussians.model import Gaussians, SceneModel, ViewDependence
from training.trainer.output_files import OutputFolder

SH_DEGREE_0 = 0.5 / math.sqrt(math.pi)
"""The constant spherical harmonic, in units of which the format stores colours."""
VIEWER_AXES = (1.0, -1.0, -1.0)
"""Half a turn about x: for viewers of 3DGS y points down, for the body model up."""
SMALLEST_VARIANCE = 1e-12  # m²; rounding can make one negative
HALF_TURN = (1.0, 0.0, 0.0, 0.0)  # the same as a quaternion, xyzw


def export_people(
    output: OutputFolder,
    model: SceneModel,
    posed: Mapping[int, int],
    stop_if_asked: Callable[[], None] = lambda: None,
) -> None:
    """Write every person of a run in the canonical pose, and everyone in the poses of frames.

    `posed` has the frame index of each frame number to write. `stop_if_asked` is called between
    two files, and what it raises ends the export. Raises OSError.
    """
    for person in range(model.people):
        write_atomically(output.person(person), ply_bytes(model, person))
        stop_if_asked()
    for frame, index in posed.items():
        write_atomically(output.posed(frame), posed_ply_bytes(model, index))
        stop_if_asked()


@torch.no_grad()
def posed_ply_bytes(model: SceneModel, index: int) -> bytes:
    """Return the content of the .ply file of everyone at a frame index, in world axes."""
    posed = model.gaussians_at(index)
    scales, quaternions = _axes(posed.covars.cpu())
    return _file(
        means=posed.means.cpu(),
        scales=scales.log(),
        quats=quaternions,
        opacities=model.gaussians.opacities.cpu(),
        colors=posed.features[:, :3].cpu(),
        harmonics=_turned_harmonics(posed.view_dependence, len(posed.means)),
    )


def _axes(covars: Tensor) -> tuple[Tensor, Tensor]:
    """Return standard deviations (N, 3) along a Gaussian's axes, and their quaternions (wxyz)."""
    variances, axes = torch.linalg.eigh(covars)
    axes = axes * torch.det(axes).sign()[:, None, None]  # a rotation, no reflection
    quaternions = roma.quat_xyzw_to_wxyz(roma.rotmat_to_unitquat(axes))
    return variances.clamp(min=SMALLEST_VARIANCE).sqrt(), quaternions


def _turned_harmonics(dependence: ViewDependence | None, count: int) -> Tensor:
    """Return the coefficients (N, K, 3) from degree 1 on, for directions in the world.

    They are fitted to what the canonical ones give in many directions, which has one solution.
    """
    if dependence is None:
        return torch.zeros(count, 0, 3)
    degree, size = dependence.degree, (dependence.degree + 1) ** 2
    canonical = functional.pad(dependence.harmonics.cpu(), (0, 0, 1, 0))
    directions = functional.normalize(torch.randn(4 * size, 3, generator=_generator()), dim=-1)
    turned = dependence.turns.cpu().mT[:, None] @ directions[..., None]  # (N, D, 3, 1)
    values = torch.stack(
        [spherical_harmonics(degree, to, canonical) for to in turned[..., 0].unbind(1)], dim=1
    )
    each = torch.eye(size)[..., None].expand(size, size, 3)
    basis = torch.stack(
        [spherical_harmonics(degree, to.expand(size, 3), each)[:, 0] for to in directions]
    )
    fitted: Tensor = torch.linalg.pinv(basis) @ values
    return fitted[:, 1:]


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@torch.no_grad()
def ply_bytes(model: SceneModel, person: int) -> bytes:
    """Return the content of one person's .ply file."""
    gaussians = model.gaussians
    chosen = gaussians.person == person
    centers = gaussians.canonical_centers(model.body.shaped(model.poses.betas))[chosen].cpu()
    unit = functional.normalize(gaussians.rotations[chosen], dim=-1).cpu()
    rotations = roma.quat_product(torch.tensor(HALF_TURN).expand_as(unit), unit)
    return _file(
        means=centers * torch.tensor(VIEWER_AXES),
        scales=gaussians.scales[chosen].cpu(),
        quats=roma.quat_xyzw_to_wxyz(rotations),
        opacities=gaussians.opacities[chosen].cpu(),
        colors=gaussians.shown_colors()[chosen].cpu(),
        harmonics=_harmonics_of_viewers(gaussians, chosen),
    )


def _file(
    *,
    means: Tensor,
    scales: Tensor,
    quats: Tensor,
    opacities: Tensor,
    colors: Tensor,
    harmonics: Tensor,
) -> bytes:
    """Return a .ply file of N Gaussians: logarithms of scales, logits of opacities."""
    from gsplat import export_splats

    content: bytes = export_splats(
        means=means,
        scales=scales,
        quats=quats,
        opacities=opacities,
        sh0=((colors - 0.5) / SH_DEGREE_0)[:, None],
        shN=harmonics,
    )
    return content


def _harmonics_of_viewers(gaussians: Gaussians, chosen: Tensor) -> Tensor:
    """Return the coefficients (M, K, 3) from degree 1 on, for directions in viewers' axes.

    Half a turn about an axis changes the sign of some spherical harmonics, and nothing else.
    """
    degree = gaussians.sh_degree
    if not degree:
        return torch.zeros(int(chosen.sum()), 0, 3)
    count = (degree + 1) ** 2
    each = torch.eye(count)[..., None].expand(count, count, 3)
    anywhere = torch.tensor([[0.3, 0.5, 0.8]]).expand(count, 3)
    turned = spherical_harmonics(degree, anywhere * torch.tensor(VIEWER_AXES), each)
    signs = (turned / spherical_harmonics(degree, anywhere, each))[1:].round()
    return gaussians.harmonics[gaussians.colored_by][chosen].cpu() * signs
