"""Write a person's Gaussians as a standard 3DGS .ply."""

from __future__ import annotations

from pathlib import Path

import roma
import torch

from training.trainer.files import OutputFolder, write_bytes
from training.trainer.model import SceneModel

SH_DEGREE_0 = 0.28209479177387814
"""The constant spherical harmonic, 1 / (2·√π), by which the format stores colours."""
VIEWER_AXES = (1.0, -1.0, -1.0)
"""Half a turn about x: viewers of 3DGS take y as down, the body model as up."""
HALF_TURN = (1.0, 0.0, 0.0, 0.0)  # the same as a quaternion, xyzw


@torch.no_grad()
def export_person(path: Path, model: SceneModel, person: int) -> None:
    """Write one person in the canonical pose; raises OSError."""
    from gsplat import export_splats

    gaussians = model.gaussians
    chosen = gaussians.person == person
    centers = gaussians.canonical(model.body.shaped(model.poses.betas))[chosen]
    unit = torch.nn.functional.normalize(gaussians.rotations[chosen], dim=-1)
    turned = roma.quat_product(torch.tensor(HALF_TURN, device=unit.device).expand_as(unit), unit)
    colors = gaussians.shown_colors()[chosen]
    content = export_splats(
        means=centers * torch.tensor(VIEWER_AXES, device=centers.device),
        scales=gaussians.scales[chosen],
        quats=roma.quat_xyzw_to_wxyz(turned),
        opacities=gaussians.opacities[chosen],
        sh0=((colors - 0.5) / SH_DEGREE_0)[:, None],
        shN=torch.zeros(len(centers), 0, 3, device=centers.device),
    )
    write_bytes(path, content)


def export_people(output: OutputFolder, model: SceneModel) -> None:
    """Write every person of a run; raises OSError."""
    for person in range(model.people):
        export_person(output.person(person), model, person)
