"""Find before anything starts what training on a GPU would lack."""

from __future__ import annotations

from collections.abc import Sequence

from preprocess.faults import Fault, counted
from training.plan.options import LaunchOptions
from training.plan.slurm_model import SlurmPlan
from training.system.typed_command import spelled
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


def sharing_faults(
    options: LaunchOptions, gpus: Sequence[str], slurm: SlurmPlan | None
) -> list[Fault]:
    """Return why scenes can't share GPUs as the flags say; `gpus` are those of this machine."""
    here, in_jobs = options.scenes_per_gpu, options.slurm_scenes_per_gpu
    if not options.on_slurm:
        remedy = "scenes on this machine share its GPUs with --scenes-per-gpu"
        faults = [Fault("--slurm.scenes-per-gpu is for Slurm jobs", str(in_jobs), remedy)]
        return faults * (in_jobs > 1) + _faults_here(here, gpus)
    remedy = f"scenes in jobs of {spelled('train')} share their GPUs with --slurm.scenes-per-gpu"
    faults = [Fault("--scenes-per-gpu is for this machine", str(here), remedy)]
    faults *= here > 1
    if slurm and in_jobs > 1 and not options.submit:
        faults += _faults_in_jobs(options, slurm)
    return faults


def _faults_here(scenes_per_gpu: int, gpus: Sequence[str]) -> list[Fault]:
    if scenes_per_gpu == 1 or gpus:
        return []
    remedy = f"on CPU cores --workers {scenes_per_gpu} trains so many at once"
    return [Fault("--scenes-per-gpu, but no GPU here", str(scenes_per_gpu), remedy)]


def _faults_in_jobs(options: LaunchOptions, slurm: SlurmPlan) -> list[Fault]:
    from training.slurm.batch_script import requested_gpus  # a launch on this machine needs none

    shared, flag = options.slurm_scenes_per_gpu, "--slurm.scenes-per-gpu"
    faults = []
    asked = requested_gpus(slurm.script_text, slurm.scene_options)
    if asked != 1:
        what = f"{flag} {shared}: a job asks for {counted(asked, 'GPU')}, not one"
        remedy = f"give --slurm.gpus 1, or leave {flag} out"
        faults.append(Fault(what, str(slurm.script), remedy))
    if options.orphan_grace:
        what = f"{flag} {shared}: no flow takes over jobs of several scenes"
        value = f"--orphan-grace {options.orphan_grace}"
        faults.append(Fault(what, value, "leave one of the two out"))
    if options.slurm_array_parallelism < shared:
        what = f"{flag} {shared}: fewer scenes may run at once"
        value = f"--slurm.array-parallelism {options.slurm_array_parallelism}"
        faults.append(Fault(what, value, f"give at least {shared} there, or fewer scenes per GPU"))
    if 1 < options.slurm_scenes_per_job < shared:
        what = f"{flag} {shared}: a job has fewer scenes"
        value = f"--slurm.scenes-per-job {options.slurm_scenes_per_job}"
        faults.append(Fault(what, value, f"give at least {shared} there, or leave it out"))
    return faults


def sharing_warnings(options: LaunchOptions, gpus: Sequence[str], scenes: int) -> list[str]:
    """Return what the flags ask for and can't be had; `scenes` are chosen."""
    warnings = []
    shared = options.slurm_scenes_per_gpu if options.on_slurm else options.scenes_per_gpu
    if shared > scenes > 0:
        flag = "--slurm.scenes-per-gpu" if options.on_slurm else "--scenes-per-gpu"
        warnings.append(f"{flag} {shared}: only {counted(scenes, 'scene')}")
    if gpus and options.workers > len(gpus) * options.scenes_per_gpu:
        places = f"{counted(options.scenes_per_gpu, 'scene')} each (--scenes-per-gpu)"
        warnings.append(f"--workers {options.workers}: only {counted(len(gpus), 'GPU')}, {places}")
    return warnings
