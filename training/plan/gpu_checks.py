"""Find before anything starts what training on a GPU would lack."""

from __future__ import annotations

from collections.abc import Sequence

from preprocess.faults import Fault, counted
from training.plan.model import SlurmPlan
from training.trainer.gaussians import gsplat_extension

WITHOUT_CUDA = "PyTorch is a build without CUDA"


def gpu_problems(
    device: str, gpus: Sequence[str], slurm: SlurmPlan | None
) -> tuple[list[Fault], list[str]]:
    """Return faults and warnings of the bundled trainer on GPUs; imports no PyTorch.

    `device` is the configured one, `gpus` those of this machine. What jobs will find on a node
    depends on the lines of the Slurm script, so of a Slurm plan there are warnings only: the flow's
    probe and the first scene say the rest.
    """
    if device == "cpu":
        return [], []
    has_cuda = gsplat_extension.torch_cuda() is not None
    if slurm is not None:
        return [], _warnings_of_jobs(device, slurm, has_cuda=has_cuda)
    if device == "auto" and not has_cuda:
        count = counted(len(gpus), "GPU")
        idle = f"{count} here, but {WITHOUT_CUDA}: scenes are trained on the CPU"
        return [], [idle] if gpus else []
    if (device == "auto" and not gpus) or gsplat_extension.is_compiled():
        return [], []
    return gsplat_extension.missing_compilers(), []


def _warnings_of_jobs(device: str, slurm: SlurmPlan, *, has_cuda: bool) -> list[str]:
    asks_for_gpus = slurm.script_text != slurm.light_script_text
    if has_cuda or not (device == "cuda" or asks_for_gpus):
        return []
    why = f"{slurm.script.name} asks for GPUs" if asks_for_gpus else "device=cuda"
    return [f"{why}, but {WITHOUT_CUDA} here: does the script activate another environment?"]
