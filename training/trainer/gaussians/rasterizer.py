"""Rasterize 3D Gaussians through a pinhole camera: exactly on CPU, by gsplat on CUDA.

Both follow Kerbl et al., 3D Gaussian Splatting (2023), with gsplat 1.5's constants, so a model
trained on one looks the same on the other. On CPU there are two rasterizers with the same result,
see `cpu_rasterizer/`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from torch import Tensor

from preprocess.faults import Fault, FaultsError
from preprocess.roots import resolve_root_folders
from training.trainer.cameras.camera import Camera
from training.trainer.config.schema import CpuRasterizer
from training.trainer.gaussians.cpu_rasterizer.compiled_code import (
    code_folder,
    has_compiler,
    load_kernels,
)
from training.trainer.gaussians.cpu_rasterizer.pytorch import rasterize_pytorch
from training.trainer.gaussians.gsplat_adapter import rasterize_gsplat

Rasterize = Callable[..., tuple[Tensor, Tensor, Tensor]]
"""Takes the arguments of `rasterize`; returns features, depth and alpha."""

GPU_DRIVER = Path("/dev/nvidiactl")
"""There where this machine has a GPU of NVIDIA's: looking for one would use it."""
_in_use: dict[str, CpuRasterizer] = {"cpu": "auto"}


@dataclass(frozen=True)
class RasterOutput:
    """What one camera sees: composited features (H, W, D), depth sum (H, W), alpha (H, W).

    `depth` is weighted by alpha, in metres: divide by alpha for the expected depth.
    """

    features: Tensor
    depth: Tensor
    alpha: Tensor


def rasterize(
    means: Tensor,
    covars: Tensor,
    opacities: Tensor,
    features: Tensor,
    camera: Camera,
    *,
    shifts: Tensor | None = None,
) -> RasterOutput:
    """Composite N Gaussians front to back, on the device they are on.

    means (N, 3) and covars (N, 3, 3) in world metres, opacities (N,) in [0, 1], features (N, D)
    of any meaning (colours, one-hot persons). Differentiable in all four. `shifts` (N, 2): zeros
    that get the gradient of where the centers are in the image, per pixel.
    """
    rasterize_on_device = rasterize_gsplat if means.is_cuda else cpu_rasterizer(_in_use["cpu"])
    return RasterOutput(
        *rasterize_on_device(means, covars, opacities, features, camera, shifts=shifts)
    )


def use_cpu_rasterizer(choice: CpuRasterizer) -> None:
    """Choose what `rasterize` does on CPU from now on, in the whole process.

    `auto` is the compiled one where numba is installed and works.
    """
    _in_use["cpu"] = choice


@cache
def cpu_rasterizer(choice: CpuRasterizer) -> Rasterize:
    """Return the function of a choice, loaded or compiled; raises FaultsError.

    Prints a line where `auto` has to do without the compiled one.
    """
    if choice == "pytorch":
        return rasterize_pytorch
    if choice == "compiled":
        if not has_compiler():
            remedy = "pip install numba, or set cpu_rasterizer=auto"
            raise FaultsError([Fault("cpu_rasterizer=compiled needs a package", "numba", remedy)])
        return _load_compiled()
    why = "numba is not installed"
    if has_compiler():
        try:
            return _load_compiled()
        except Exception as error:  # noqa: BLE001 - an installation can be broken in any way
            why = f"numba does not work: {error!r}"
    print(f"rasterizing with PyTorch, several times slower, since {why}", flush=True)
    return rasterize_pytorch


def load_ahead() -> None:
    """Load the compiled rasterizer if it is compiled already and this machine has no GPU."""
    state_root = resolve_root_folders({})["state_root"]
    if not GPU_DRIVER.exists() and has_compiler() and code_folder(state_root).is_dir():
        cpu_rasterizer("auto")


def _load_compiled() -> Rasterize:
    from training.trainer.gaussians.cpu_rasterizer.compiled import rasterize_compiled

    kernels = load_kernels(resolve_root_folders({})["state_root"])
    return partial(rasterize_compiled, kernels=kernels)
