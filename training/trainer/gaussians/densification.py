"""Add and remove Gaussians while they are trained, by gsplat's own strategies.

Strategies see the Gaussians as gsplat names them; whatever else belongs to one (its person, its
triangle, its skinning weights) is handed over as parameters that are not trained, which gsplat
copies and removes together with the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import roma
import torch
from torch import Tensor, nn

from training.trainer.cameras.camera import Camera
from training.trainer.config.schema import Model
from training.trainer.gaussians.cpu_rasterizer.constants import MIN_ALPHA, NEAR_PLANE
from training.trainer.gaussians.cpu_rasterizer.projection import project
from training.trainer.gaussians.gsplat_adapter import strategies_on
from training.trainer.gaussians.model import Gaussians, PosedGaussians

TRAINED = {
    "means": "offsets",
    "scales": "scales",
    "quats": "rotations",
    "opacities": "opacities",
    "colors": "colors",
    "harmonics": "harmonics",
}
"""gsplat's name of each trained parameter, and ours."""
ATTACHED = ("person", "corners", "shares", "weights", "first_scales")
"""Buffers that a new Gaussian takes over from the one that it was made of."""
ORIGIN = "origin"
"""Name of a column that says which row before a step each row was made of."""
GRADIENT = 2e-4
"""gsplat's threshold of the gradient in the image above which a Gaussian is cloned or split."""
GROWTH = 0.05
"""Of the Gaussians, what is added at a time: those with the largest gradients.

As MCMC does. The threshold alone is for scenes of a million Gaussians: where there are thousands,
each has a larger part of the gradient, and all are above it every time.
"""
MAX_SIGMAS = 3.33
"""Standard deviations at which gsplat ends a Gaussian that is opaque."""
SCENE_SCALE_M = 1.0
"""What gsplat's thresholds for sizes are fractions of: a Gaussian wider than 1 cm is split."""


@dataclass(frozen=True)
class Seen:
    """A view that was rendered.

    `camera` may be of a part of the image only, and `whole` is of all of it; `shifts` (N, 2) have
    the gradient of its loss, which is a mean over the pixels of the whole.
    """

    camera: Camera
    whole: Camera
    shifts: Tensor


class Densification:
    """A strategy of gsplat, at work on the Gaussians of one model in the second stage.

    It looks at the Gaussians once an epoch, when every frame has been seen since the last time,
    and ends in the middle of the stage, so that what it added is trained. Opacities are not reset:
    silhouettes hold them.
    """

    def __init__(self, settings: Model, seed: int, epochs: int, frames: int) -> None:
        """`epochs` and `frames`: of the second stage, and of each of its epochs."""
        self.kind = settings.densification
        self.seed = seed
        self.limit = settings.max_gaussians
        stop = epochs * frames // 2
        self.strategy, self.state = _make_strategy(self.kind, self.limit, frames, stop)

    def new_shifts(self, posed: PosedGaussians) -> Tensor | None:
        """Return what `rasterize` takes as `shifts` for one view; None where nobody asks for it."""
        if self.kind == "mcmc":
            return None
        return torch.zeros_like(posed.means[:, :2]).requires_grad_()

    def step(
        self,
        gaussians: Gaussians,
        optimizer: torch.optim.Optimizer,
        iteration: int,
        posed: PosedGaussians,
        seen: Sequence[Seen],
    ) -> None:
        """Let the strategy act after the optimizer's step at an iteration of the second stage.

        `posed` and `seen`: what that iteration rendered. Random choices follow from seed and
        iteration alone, so a resumed run makes the same.
        """
        if self.kind == "default":
            self._bound_growth(iteration, len(gaussians.person))
        torch.manual_seed(self.seed * 1_000_003 + iteration)
        before = _Before(gaussians)
        parameters, optimizers = _as_gsplat_names_them(gaussians, optimizer)
        arguments = parameters, optimizers, self.state, iteration
        with strategies_on(gaussians.offsets.device), _wxyz(gaussians, parameters):
            if self.kind == "default":
                self.strategy.step_post_backward(*arguments, _info(posed, seen))
            else:
                means = optimizers.get("means")
                rate = means.param_groups[0]["lr"] if means else 0.0
                self.strategy.step_post_backward(*arguments, {}, lr=rate)
        before.update(gaussians, parameters)

    def _bound_growth(self, iteration: int, count: int) -> None:
        """Have the strategy add GROWTH at most, and not beyond the limit: by its threshold."""
        gradients = self.state["grad2d"]
        if gradients is None or iteration % self.strategy.refine_every:
            return
        allowed = max(min(int(GROWTH * count), self.limit - count), 0)
        mean = gradients / self.state["count"].clamp(min=1)
        last = float(mean.topk(allowed + 1).values[-1])  # above it are so many
        self.strategy.grow_grad2d = max(GRADIENT, last)

    def state_dict(self) -> dict[str, Any]:
        """Return what the strategy has gathered since it last acted, for the checkpoint."""
        return {name: self.state[name] for name in ("grad2d", "count") if name in self.state}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Restore a saved state."""
        tensors = {name: value for name, value in state.items() if value is not None}
        self.state.update({name: value.to(device) for name, value in tensors.items()})


def _make_strategy(kind: str, limit: int, frames: int, stop: int) -> tuple[Any, dict[str, Any]]:
    from gsplat import DefaultStrategy, MCMCStrategy

    when = {"refine_start_iter": 0, "refine_stop_iter": stop, "refine_every": frames}
    if kind == "mcmc":
        strategy = MCMCStrategy(cap_max=limit, **when)
        return strategy, strategy.initialize_state()
    never = stop + 1
    strategy = DefaultStrategy(reset_every=never, **when)
    return strategy, strategy.initialize_state(scene_scale=SCENE_SCALE_M)


def _as_gsplat_names_them(
    gaussians: Gaussians, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, nn.Parameter], dict[str, Any]]:
    """Return the parameters, and for each trained one what gsplat uses of an optimizer.

    gsplat wants one optimizer a parameter: each is a view of one group of ours, with its state.
    """
    groups = {id(group["params"][0]): group for group in optimizer.param_groups}
    parameters, optimizers = dict[str, nn.Parameter](), dict[str, Any]()
    for name, attribute in TRAINED.items():
        if (parameter := getattr(gaussians, attribute, None)) is not None:
            parameters[name] = parameter
            if group := groups.get(id(parameter)):  # else it is frozen
                optimizers[name] = SimpleNamespace(param_groups=[group], state=optimizer.state)
    carried = {name: getattr(gaussians, name) for name in ATTACHED}
    carried[ORIGIN] = torch.arange(len(gaussians.person), device=gaussians.offsets.device)
    frozen = {name: nn.Parameter(value, requires_grad=False) for name, value in carried.items()}
    return parameters | frozen, optimizers


class _wxyz:  # noqa: N801 - used like a function
    """Have rotations as gsplat's wxyz inside the `with` block; ours are xyzw."""

    def __init__(self, gaussians: Gaussians, parameters: dict[str, nn.Parameter]) -> None:
        self.first, self.parameters = gaussians.rotations, parameters

    @torch.no_grad()
    def __enter__(self) -> None:
        self.first.copy_(roma.quat_xyzw_to_wxyz(self.first))

    @torch.no_grad()
    def __exit__(self, *_: object) -> None:
        rotations = self.parameters["quats"]
        rotations.copy_(roma.quat_wxyz_to_xyzw(rotations))


class _Before:
    """What Gaussians were before a step, as far as those after it follow from it."""

    def __init__(self, gaussians: Gaussians) -> None:
        self.scales = gaussians.scales.detach().clone()
        self.shown = {
            name: getattr(gaussians, name).detach()[gaussians.colored_by]
            for name in ("colors", "harmonics")
            if hasattr(gaussians, name)
        }
        self.colored_by = gaussians.colored_by

    @torch.no_grad()
    def update(self, gaussians: Gaussians, parameters: dict[str, nn.Parameter]) -> None:
        """Put the parameters back where they belong, and what depends on other Gaussians right."""
        if parameters["scales"] is gaussians.scales:
            return  # nothing was added, removed or moved elsewhere
        for name, attribute in TRAINED.items():
            if name in parameters:
                setattr(gaussians, attribute, parameters[name])
        for name in ATTACHED:
            setattr(gaussians, name, parameters[name].data)
        origin = parameters[ORIGIN].data
        # A Gaussian that was made smaller shall not be drawn back to its former size.
        gaussians.first_scales += gaussians.scales - self.scales[origin]
        gaussians.colored_by, orphans = _colored_by(self.colored_by, origin)
        for name, shown in self.shown.items():
            getattr(gaussians, name)[orphans] = shown[origin[orphans]]


def _colored_by(before: Tensor, origin: Tensor) -> tuple[Tensor, Tensor]:
    """Return what each Gaussian (M,) shows the colour of, and those whose colour's owner is gone.

    `before` (N,) is the same of the Gaussians before, `origin` (M,) which of them each is made of.
    What showed its own colour still does.
    """
    own = torch.arange(len(origin), device=origin.device)
    owner = before[origin]
    gone = len(origin)
    first = torch.full_like(before, gone).scatter_reduce(0, origin, own, "amin")
    shown = torch.where(owner == origin, own, first[owner])
    orphans = shown == gone
    return torch.where(orphans, own, shown), orphans.nonzero()[:, 0]


def _info(posed: PosedGaussians, seen: Sequence[Seen]) -> dict[str, Any]:
    """Return what `DefaultStrategy` reads of the info of gsplat's rasterization, over all views.

    Our loss is the sum over views, gsplat's their mean, which it multiplies by `n_cameras`; views
    may differ in size, so gradients are scaled here, as if each were 2 by 2 pixels.
    """
    radii = [drawn_radii(posed, each.camera) for each in seen]
    return {
        "means2d": SimpleNamespace(grad=torch.stack([_scaled_gradient(each) for each in seen])),
        "radii": torch.stack(radii),
        "gaussian_ids": None,
        "width": 2,
        "height": 2,
        "n_cameras": 1,
    }


def _scaled_gradient(seen: Seen) -> Tensor:
    shifts, whole = seen.shifts, seen.whole
    if shifts.grad is None:  # no term of the loss looks at the view
        return torch.zeros_like(shifts)
    return shifts.grad * torch.tensor([whole.width / 2, whole.height / 2], device=shifts.device)


@torch.no_grad()
def drawn_radii(posed: PosedGaussians, camera: Camera) -> Tensor:
    """Return the half extents (N, 2) of what is drawn, whole pixels; 0 where nothing is.

    As gsplat's projection gives them (csrc/ProjectionEWA3DGSFused.cu).
    """
    projected = project(posed.means, posed.covars, camera)
    sigmas = (2 * (posed.opacities / MIN_ALPHA).clamp(min=1).log()).sqrt().clamp(max=MAX_SIGMAS)
    radii = (sigmas[:, None] * projected.spreads).ceil()
    size = torch.tensor([camera.width, camera.height], device=radii.device)
    inside = (projected.centers + radii > 0) & (projected.centers - radii < size)
    drawn = inside.all(-1) & (projected.depths > NEAR_PLANE) & (posed.opacities >= MIN_ALPHA)
    return torch.where(drawn[:, None], radii, 0.0)
