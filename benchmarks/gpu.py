"""Measure everything about training on a GPU: run it once on the first machine that has one.

`python benchmarks/gpu.py` takes less than 10 minutes, besides compiling gsplat once. It prints
Markdown, then the same numbers as JSON; `--output FOLDER` also keeps both there. Exit status 2
where there is no GPU, 1 where it draws something else. `--device cpu --size tiny` tries the script
itself on a CPU.

- **Rendering**: CUDA against the PyTorch rasterizer on CPU: differences of image, depth, alpha
  and gradients; and milliseconds of rendering and its backward pass at three sizes.
- **Training at the size of Hi4D**: two people of 50,000 Gaussians at 940 x 1280, built here:
  seconds of the start, iterations a second of both stages, memory.
- **Beside gsplat's example trainer** (`examples/simple_trainer.py`, which its wheel lacks): its
  iteration (one view, `rasterization` with quaternions and scales, 0.8 L1 + 0.2 SSIM, an Adam for
  each parameter, no densification), with the same image, the same number of Gaussians and our SSIM.
- **A whole training** of a small scene on GPU and CPU: seconds and PSNR, which should agree.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from benchmarks.synthetic_scene import build_scene  # noqa: E402
from preprocess.faults import FaultsError  # noqa: E402
from training.simple_multi_human_trainer import main as train_scene  # noqa: E402
from training.system.exit_status import DONE, FAILED, USAGE  # noqa: E402
from training.trainer.cameras.camera import Camera  # noqa: E402
from training.trainer.config.compose import load_config  # noqa: E402
from training.trainer.gaussians.cpu_rasterizer.pytorch import rasterize_pytorch  # noqa: E402
from training.trainer.gaussians.gsplat_extension import load_extension  # noqa: E402
from training.trainer.gaussians.rasterizer import rasterize  # noqa: E402
from training.trainer.input_checks import check_inputs  # noqa: E402
from training.trainer.loop import TrainingRun, fit_all, fit_pose  # noqa: E402
from training.trainer.losses import rgb_loss, ssim_loss  # noqa: E402
from training.trainer.setup import prepare_run  # noqa: E402
from training.trainer.termination import SignalRequests, TrainingError  # noqa: E402

MEGABYTE = 2**20
CAMERAS = (4, 28, 52)
ALLOWED = {
    "image": (1e-5, 1e-2),
    "depth": (5e-5, 5e-2),
    "alpha": (1e-5, 1e-2),
    "gradients": (1e-4, 2e-2),
}
"""Mean and largest difference that rounding explains; gradients relative to the largest one.

At a few pixels the two devices may decide differently whether an alpha of 1/255 is drawn.
"""
Numbers = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """How much is measured: pixels, Gaussians, and the seconds that each measurement may take."""

    renders: tuple[tuple[int, int, int], ...]  # height, width, Gaussians
    image: tuple[int, int]
    gaussians: int
    frames: int
    small: int
    epochs: int
    seconds: float


RENDERS = ((96, 96, 2_000), (256, 256, 8_000), (1280, 940, 100_000))
SIZES = {
    "full": Size(RENDERS, (940, 1280), 50_000, 4, 96, 50, 15.0),
    "tiny": Size(((24, 32, 50),), (48, 64), 60, 2, 32, 2, 0.2),
}


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--size", choices=tuple(SIZES), default="full")
    parser.add_argument("--output", type=Path, help="folder to keep gpu.md and gpu.json in")
    given = parser.parse_args(arguments)
    if given.device == "cuda" and not torch.cuda.is_available():
        what = "no GPU: torch sees no CUDA device here, so nothing was measured"
        remedy = "run it where there is one, or try it with --device cpu --size tiny"
        print(f"{what}\n    -> {remedy}", file=sys.stderr)
        return USAGE
    try:
        numbers = measure(torch.device(given.device), SIZES[given.size])
    except (FaultsError, TrainingError) as error:
        print(error, file=sys.stderr)
        return USAGE if isinstance(error, FaultsError) else FAILED
    page, content = markdown(numbers), json.dumps(numbers, indent=1)
    print(f"{page}\n```json\n{content}\n```")
    if given.output:
        given.output.mkdir(parents=True, exist_ok=True)
        (given.output / "gpu.md").write_text(page, encoding="utf-8")
        (given.output / "gpu.json").write_text(content, encoding="utf-8")
    return DONE if all(row["agrees"] for row in numbers["differences"].values()) else FAILED


def measure(device: torch.device, size: Size) -> Numbers:
    """Return all numbers, by section; raises FaultsError, TrainingError."""
    started = time.monotonic()
    numbers: Numbers = {"machine": machine(device)}
    if device.type == "cuda":
        load_extension()
        numbers["machine"]["loading or compiling gsplat, s"] = since(started)
    numbers["differences"] = differences(device)
    numbers["rendering, ms"] = [rendering(device, *each, size.seconds) for each in size.renders]
    with tempfile.TemporaryDirectory() as folder:
        numbers["training"] = training(device, size, Path(folder))
        numbers["whole training"] = whole_trainings(device, size, Path(folder))
    numbers["machine"]["all of it, s"] = since(started)
    return numbers


def machine(device: torch.device) -> Numbers:
    """Return what the numbers depend on."""
    is_gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if is_gpu else "CPU",
        "memory, MB": torch.cuda.mem_get_info(device)[1] // MEGABYTE if is_gpu else None,
        "torch": torch.__version__,
        "CUDA": torch.version.cuda,
        "gsplat": version("gsplat"),
        "CPU cores": len(os.sched_getaffinity(0)),
    }


def differences(device: torch.device) -> Numbers:
    """Return how far `device` and the PyTorch rasterizer on CPU differ."""
    seen, gradients = [], []
    for where, function in ((torch.device("cpu"), rasterize_pytorch), (device, rasterize)):
        parts = [part.to(where).requires_grad_() for part in cloud(2_000)]
        features, depth, alpha = draw(function, parts, camera(256, 256).to(where))
        torch.autograd.backward(features.square().sum() + depth.sum() + alpha.sum())
        seen.append([part.detach().cpu() for part in (features, depth, alpha)])
        gradients.append([part.grad.cpu() for part in parts if part.grad is not None])
    pairs = dict(zip(("image", "depth", "alpha"), zip(*seen, strict=True), strict=True))
    numbers = {name: difference(name, [(a - b).abs()]) for name, (a, b) in pairs.items()}
    relative = [(a - b).abs() / a.abs().max() for a, b in zip(*gradients, strict=True)]
    return numbers | {"gradients": difference("gradients", relative)}


def difference(name: str, values: list[Tensor]) -> Numbers:
    """Return mean and largest difference, and whether they are what rounding explains."""
    mean = max(float(each.mean()) for each in values)
    largest = max(float(each.max()) for each in values)
    agrees = mean <= ALLOWED[name][0] and largest <= ALLOWED[name][1]
    return {"mean": mean, "largest": largest, "agrees": agrees}


def rendering(device: torch.device, height: int, width: int, count: int, seconds: float) -> Numbers:
    """Return the milliseconds of rendering with its backward pass, on `device` and on CPU."""

    def milliseconds(where: torch.device) -> float:
        parts = [part.to(where).requires_grad_() for part in cloud(count)]
        seen_by = camera(height, width).to(where)

        def step() -> None:
            sums = [each.sum() for each in draw(rasterize, parts, seen_by)]
            torch.autograd.backward(torch.stack(sums).sum())

        return 1e3 / per_second(step, where, seconds)

    row: Numbers = {"pixels": f"{width} x {height}", "Gaussians": count}
    return row | {device.type: milliseconds(device), "CPU": milliseconds(torch.device("cpu"))}


def training(device: torch.device, size: Size, folder: Path) -> Numbers:
    """Return what our iterations and gsplat's cost at the largest size."""
    started = time.monotonic()
    run = prepared(device, size, folder)
    numbers: Numbers = {
        "pixels": "{} x {}".format(*reversed(size.image)),
        "Gaussians": len(run.model.gaussians.person),
        "start, s": since(started),
        "memory after the start, MB": memory(device),
    }
    frames = len(run.source.frames)
    turns = iter(range(10**9))

    def step_of(stage: Callable[..., dict[str, float]]) -> Callable[[], object]:
        return lambda: stage(run, [run.source.stored(run.source_id, next(turns) % frames)], 1)

    for name, stage in (("poses", fit_pose), ("gaussians", fit_all)):
        numbers[f"{name}, iterations/s"] = per_second(step_of(stage), device, size.seconds)
        numbers[f"{name}, memory, MB"] = memory(device)
    with torch.no_grad():
        numbers["poses alone, iterations/s"] = per_second(
            lambda: run.model.gaussians_at(next(turns) % frames), device, size.seconds
        )
    image = run.source.view(run.source_id, 0)
    numbers["gsplat's example, iterations/s"] = per_second(
        example_step(run, image.image, image.camera), device, size.seconds
    )
    numbers["gsplat's example, memory, MB"] = memory(device)
    return numbers


def example_step(run: TrainingRun, target: Tensor, seen_by: Camera) -> Callable[[], None]:
    """Return an iteration as gsplat's example trainer takes it, over as many Gaussians as ours.

    On CPU, where gsplat can't render, our rasterizer takes its place.
    """
    with torch.no_grad():
        posed = run.model.gaussians_at(0)
        scales = run.model.gaussians.scales.clone()
    values = {
        "means": posed.means,
        "scales": scales,
        "quats": posed.means.new_tensor([1, 0, 0, 0]).expand(len(posed.means), 4),
        "opacities": posed.opacities.logit(),
        "colors": torch.zeros_like(posed.means),
    }
    parameters = {name: value.clone().requires_grad_() for name, value in values.items()}
    optimizers = [torch.optim.Adam([each], lr=1e-3, eps=1e-15) for each in parameters.values()]

    def step() -> None:
        image = example_image(parameters, seen_by)
        loss = 0.8 * rgb_loss(image, target) + 0.2 * ssim_loss(image, target)
        torch.autograd.backward(loss)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return step


def example_image(parameters: dict[str, Tensor], seen_by: Camera) -> Tensor:
    """Return the image (H, W, 3) of Gaussians that are given as gsplat takes them."""
    scales, opacities = parameters["scales"].exp(), parameters["opacities"].sigmoid()
    colors = parameters["colors"].sigmoid()
    if not scales.is_cuda:
        covars = torch.diag_embed(scales.square())
        return rasterize(parameters["means"], covars, opacities, colors, seen_by).features
    from gsplat import rasterization

    images, _, _ = rasterization(
        means=parameters["means"],
        quats=parameters["quats"],
        scales=scales,
        opacities=opacities,
        colors=colors,
        viewmats=seen_by.viewmat[None],
        Ks=seen_by.intrinsics[None],
        width=seen_by.width,
        height=seen_by.height,
        packed=False,
    )
    image: Tensor = images[0]
    return image


def whole_trainings(device: torch.device, size: Size, folder: Path) -> list[Numbers]:
    """Return seconds and PSNR of a small scene's training on `device` and on CPU."""
    scene = build_scene(folder / "small", size.small, 8, CAMERAS)
    rows = []
    for kind in dict.fromkeys((device.type, "cpu")):
        keys = [f"device={kind}", f"train.optimization.epochs={size.epochs}"]
        started = time.monotonic()
        if train_scene([*scene, f"shared.exp_name={kind}", *keys]) != DONE:
            raise TrainingError(f"training on {kind} failed: what it says is above")
        found = next((folder / "small" / "results").glob(f"*/{kind}/metrics.json"))
        metrics = json.loads(found.read_text(encoding="utf-8"))
        rows.append({"device": kind, "seconds": since(started), "PSNR, dB": metrics["psnr"]})
    return rows


def prepared(device: torch.device, size: Size, folder: Path) -> TrainingRun:
    """Build the scene of the largest size, and return its training before the first iteration."""
    scene = build_scene(folder / "large", size.image, size.frames, CAMERAS)
    more = [f"model.gaussians_per_person={size.gaussians}", "train.evaluation.eval_frames=1"]
    config = load_config([*scene, *more, "shared.exp_name=large", f"device={device.type}"])
    return prepare_run(config, check_inputs(config), SignalRequests())


def cloud(count: int) -> list[Tensor]:
    """Return means, factors of covariances, opacities and features of Gaussians in view."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(count, 3, generator=generator) * torch.tensor([0.5, 0.7, 0.3])
    spread = 2.0 / count**0.5  # they cover the image alike, whatever their number
    factors = torch.randn(count, 3, 3, generator=generator) * spread * 0.3
    opacities = 0.1 + 0.85 * torch.rand(count, generator=generator)
    return [means, factors, opacities, torch.rand(count, 5, generator=generator)]


def camera(height: int, width: int) -> Camera:
    """Return a camera that sees the cloud from 3 m."""
    viewmat = torch.eye(4)
    viewmat[2, 3] = 3.0
    focal = 1.2 * min(width, height)
    intrinsics = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
    return Camera(viewmat, intrinsics, width, height)


def draw(function: Callable[..., Any], parts: list[Tensor], seen_by: Camera) -> list[Tensor]:
    """Return features, depth and alpha of a cloud; either kind of rasterizing function will do."""
    means, factors, opacities, features = parts
    covars = factors @ factors.mT + 1e-6 * torch.eye(3, device=means.device)
    output = function(means, covars, opacities, features, seen_by)
    return list(output if isinstance(output, tuple) else vars(output).values())


def per_second(step: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Return how often `step` runs a second, after three times that are not counted."""
    for _ in range(3):
        step()
    finish(device)
    count, started = 0, time.monotonic()
    while time.monotonic() - started < seconds:
        step()
        count += 1
        finish(device)
    return count / (time.monotonic() - started)


def finish(device: torch.device) -> None:
    """Wait for what the GPU has been asked to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def memory(device: torch.device) -> int:
    """Return the most memory that was in use since the last call on a GPU, ever on CPU, MB."""
    if device.type != "cuda":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    most = torch.cuda.max_memory_allocated(device) // MEGABYTE
    torch.cuda.reset_peak_memory_stats(device)
    return most


def since(started: float) -> float:
    """Return the seconds since a moment of `time.monotonic`."""
    return round(time.monotonic() - started, 1)


def markdown(numbers: Numbers) -> str:
    """Return the numbers as tables."""
    parts = ["# Training on a GPU", *table([numbers["machine"]])]
    rows = [{"difference of": name, **values} for name, values in numbers["differences"].items()]
    parts += ["## Differences from the CPU", *table(rows)]
    parts += ["## Rendering with its backward pass, ms", *table(numbers["rendering, ms"])]
    rows = [{"training": name, "": value} for name, value in numbers["training"].items()]
    parts += ["## Training at the largest size", *table(rows)]
    return "\n".join([*parts, "## A small scene", *table(numbers["whole training"])]) + "\n"


def table(rows: list[Numbers]) -> list[str]:
    """Return the lines of a Markdown table with a column for each key."""
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(cell(row[name]) for name in columns) + " |" for row in rows]
    return ["", *lines, ""]


def cell(value: Any) -> str:
    """Return a number with three digits, anything else as it is."""
    return f"{value:.3g}" if isinstance(value, float) else "" if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main())
