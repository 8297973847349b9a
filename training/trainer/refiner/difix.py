"""DiFix by diffusers: the public weights, or a folder of the same kind."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from training.trainer.evaluation.pictures import to_pil_image
from training.trainer.refiner.weights import PROMPT, TIMESTEP, local_path

SIDE_MULTIPLE = 8  # the network works on sides that are multiples of this, pixels


class DifixRefiner:
    """DiFix, a one-step diffusion model (Wu et al., Difix3D+, 2025), by diffusers.

    Its pipeline class comes from the authors' `pipeline_difix.py` where that can be imported (the
    folder `src` of their repository on PYTHONPATH), else from the model's own folder, whose code
    then runs: name a model that you trust.
    """

    def __init__(
        self,
        model_id: str,
        device: torch.device,
        prompt: str = PROMPT,
        timesteps: Sequence[int] = (TIMESTEP,),
    ) -> None:
        self._prompt, self._timesteps = prompt, list(timesteps)
        name = str(local_path(model_id) or model_id)
        self._pipeline: Any = (
            _pipeline_class()
            .from_pretrained(name, trust_remote_code=True, local_files_only=True)
            .to(device)
        )
        self._pipeline.set_progress_bar_config(disable=True)

    def refine(self, render: Tensor, reference: Tensor) -> Tensor:
        """Return the repaired image (H, W, 3) in [0, 1]; the network sees it scaled a little."""
        picture = to_pil_image(render)
        repaired = self._pipeline(
            self._prompt,
            image=fitting(picture),
            ref_image=fitting(to_pil_image(reference)),
            num_inference_steps=len(self._timesteps),
            timesteps=self._timesteps,
            guidance_scale=0.0,
        ).images[0]
        return to_tensor(repaired.resize(picture.size, Image.Resampling.LANCZOS)).to(render.device)


def _pipeline_class() -> Any:
    if importlib.util.find_spec("pipeline_difix") is not None:
        return importlib.import_module("pipeline_difix").DifixPipeline
    from diffusers import DiffusionPipeline

    return DiffusionPipeline


def fitting(picture: Image.Image) -> Image.Image:
    """Return a picture scaled to the nearest smaller sides that the network works on."""
    sides = [max(1, side // SIDE_MULTIPLE) * SIDE_MULTIPLE for side in picture.size]
    return picture.resize((sides[0], sides[1]), Image.Resampling.LANCZOS)


def to_tensor(picture: Image.Image) -> Tensor:
    """Return a picture as (H, W, 3) in [0, 1]."""
    levels = torch.frombuffer(bytearray(picture.convert("RGB").tobytes()), dtype=torch.uint8)
    return levels.view(picture.height, picture.width, 3).float() / 255
