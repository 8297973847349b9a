"""Write people's Gaussians as standard 3DGS .ply files."""

from __future__ import annotations

import math

import roma
import torch
from torch import Tensor
from torch.nn import functional

from training.system.atomic_write import write_atomically
from training.trainer.gaussians.gsplat_adapter import spherical_harmonics
from training.trainer.gaussians.model import Gaussians, SceneModel
from training.trainer.output_files import OutputFolder

SH_DEGREE_0 = 0.5 / math.sqrt(math.pi)
"""The constant spherical harmonic, in units of which the format stores colours."""
VIEWER_AXES = (1.0, -1.0, -1.0)
"""Half a turn about x: for viewers of 3DGS y points down, for the body model up."""
HALF_TURN = (1.0, 0.0, 0.0, 0.0)  # the same as a quaternion, xyzw


def export_people(output: OutputFolder, model: SceneModel) -> None:
    """Write every person of a run in the canonical pose; raises OSError."""
    for person in range(model.people):
        write_atomically(output.person(person), ply_bytes(model, person))


@torch.no_grad()
def ply_bytes(model: SceneModel, person: int) -> bytes:
    """Return the content of one person's .ply file."""
    from gsplat import export_splats

    gaussians = model.gaussians
    chosen = gaussians.person == person
    centers = gaussians.canonical_centers(model.body.shaped(model.poses.betas))[chosen].cpu()
    unit = functional.normalize(gaussians.rotations[chosen], dim=-1).cpu()
    rotations = roma.quat_product(torch.tensor(HALF_TURN).expand_as(unit), unit)
    colors = gaussians.shown_colors()[chosen].cpu()
    content: bytes = export_splats(
        means=centers * torch.tensor(VIEWER_AXES),
        scales=gaussians.scales[chosen].cpu(),
        quats=roma.quat_xyzw_to_wxyz(rotations),
        opacities=gaussians.opacities[chosen].cpu(),
        sh0=((colors - 0.5) / SH_DEGREE_0)[:, None],
        shN=_harmonics_of_viewers(gaussians, chosen),
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
