"""DiFix tuned by its public training script, from the checkpoint `model_<step>.pkl` that it saves.

A checkpoint has only what was tuned: the U-Net, and of the VAE its LoRA and the convolutions of the
skip connections. The rest is that of sd-turbo, from this machine's Hugging Face cache. Written
after https://github.com/nv-tlabs/Difix3D, src/model.py and src/train_difix.py (June 2025).
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.trainer.evaluation.pictures import to_pil_image
from training.trainer.refiner.difix import fitting, to_tensor
from training.trainer.refiner.weights import BASE_MODEL, PROMPT, TIMESTEP, local_path
from training.trainer.termination import TrainingError

ADAPTER = "vae_skip"
SKIPS = {"skip_conv_1": (512, 512), "skip_conv_2": (256, 512), "skip_conv_3": (128, 512)}
SKIPS |= {"skip_conv_4": (128, 256)}
"""Channels in and out of the convolutions between encoder and decoder, in the decoder's order."""
NEEDED = ("state_dict_unet", "state_dict_vae", "rank_vae", "vae_lora_target_modules")


@dataclass
class BaseParts:
    """What a checkpoint is put into: the parts of sd-turbo, by the names of diffusers."""

    tokenizer: Any
    text_encoder: Any
    vae: Any
    unet: Any
    scheduler: Any
    sees_reference: bool
    """Whether the U-Net is the authors' one, whose attention goes over render and reference."""
    modules: tuple[nn.Module, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.modules = (self.text_encoder, self.vae, self.unet)


class TunedDifixRefiner:
    """A tuned DiFix behind the interface of a refiner: one step of diffusion."""

    def __init__(
        self,
        model_id: str,
        device: torch.device,
        parts: BaseParts | None = None,
        *,
        prompt: str = PROMPT,
        timestep: int = TIMESTEP,
    ) -> None:
        self._timestep = timestep
        path = local_path(model_id) or Path(model_id)
        content = read_checkpoint(path)
        self._parts, self._device = parts or base_parts(), device
        add_skips(self._parts.vae)
        load_tuned(path, self._parts, content)
        for module in self._parts.modules:
            module.eval().requires_grad_(requires_grad=False).to(device)
        self._parts.scheduler.set_timesteps(1, device=device)
        self._prompt = self._encoded(prompt)

    @torch.inference_mode()
    def refine(self, render: Tensor, reference: Tensor) -> Tensor:
        """Return the repaired image (H, W, 3) in [0, 1]; the network sees it scaled a little."""
        picture = to_pil_image(render)
        views = [picture, to_pil_image(reference).resize(picture.size)]
        views = views if self._parts.sees_reference else views[:1]
        images = torch.stack([to_tensor(fitting(view)).permute(2, 0, 1) for view in views])
        repaired = self._denoised(images.to(self._device) * 2 - 1)[0].clamp(-1, 1) / 2 + 0.5
        image = to_pil_image(repaired.permute(1, 2, 0).float())
        return to_tensor(image.resize(picture.size)).to(render.device)

    def _denoised(self, images: Tensor) -> Tensor:
        """Return images (V, 3, H, W) in [-1, 1] after one step of diffusion."""
        vae, unet = self._parts.vae, self._parts.unet
        scale = vae.config.scaling_factor
        step = torch.tensor([self._timestep], device=self._device)
        # The mean, where the authors draw: the same render is always repaired in the same way.
        latents = vae.encode(images).latent_dist.mode() * scale
        prompt = self._prompt.expand(len(images), -1, -1)
        noise = unet(latents, step, encoder_hidden_states=prompt).sample
        clean = self._parts.scheduler.step(noise, step, latents, return_dict=True).prev_sample
        decoded: Tensor = vae.decode(clean / scale).sample
        return decoded

    @torch.inference_mode()
    def _encoded(self, prompt: str) -> Tensor:
        tokenizer = self._parts.tokenizer
        tokens = tokenizer(
            prompt,
            max_length=tokenizer.model_max_length,
            padding="max_length",
            truncation=True,
            return_tensors="pt",
        ).input_ids
        encoded: Tensor = self._parts.text_encoder(tokens.to(self._device))[0]
        return encoded


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint: tensors and plain data, no code is run.

    Raises TrainingError for a file of anything else.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen undocumented types for other files
        raise TrainingError(
            f"{path} can't be read as tensors and plain data: {str(error).splitlines()[0]}; name a "
            "model_<step>.pkl as the public DiFix training script saves it"
        ) from error
    lacking = [key for key in NEEDED if key not in content] if isinstance(content, dict) else NEEDED
    if lacking:
        raise TrainingError(f"{path} is no checkpoint of the DiFix training: no {lacking[0]}")
    return dict(content)


def base_parts() -> BaseParts:
    """Load the parts of sd-turbo from the cache, on the CPU.

    The U-Net is the authors' (`mv_unet.py`, in the folder `src` of their repository, on PYTHONPATH)
    where it can be imported; else the reference image is not looked at.
    """
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import (  # type: ignore[import-not-found,unused-ignore]
        AutoTokenizer,
        CLIPTextModel,
    )

    sees_reference = importlib.util.find_spec("mv_unet") is not None
    if sees_reference:
        unet_class = importlib.import_module("mv_unet").UNet2DConditionModel
    else:
        unet_class = UNet2DConditionModel
        print("no mv_unet on PYTHONPATH: DiFix does not look at the reference image", flush=True)
    load = {"pretrained_model_name_or_path": BASE_MODEL, "local_files_only": True}
    return BaseParts(
        tokenizer=AutoTokenizer.from_pretrained(**load, subfolder="tokenizer"),
        text_encoder=CLIPTextModel.from_pretrained(**load, subfolder="text_encoder"),
        vae=AutoencoderKL.from_pretrained(**load, subfolder="vae"),
        unet=unet_class.from_pretrained(**load, subfolder="unet"),
        scheduler=DDPMScheduler.from_pretrained(**load, subfolder="scheduler"),
        sees_reference=sees_reference,
    )


def add_skips(vae: Any) -> None:
    """Connect a VAE's encoder with its decoder, as DiFix does.

    What goes into each block of the encoder is added, through a convolution, to what goes into the
    opposite block of the decoder.
    """
    seen: dict[int, Tensor] = {}
    for name, (inner, outer) in SKIPS.items():
        setattr(vae.decoder, name, nn.Conv2d(inner, outer, 1, bias=False))
    for place, block in enumerate(vae.encoder.down_blocks):
        block.register_forward_pre_hook(partial(_keep_input, seen, place))
    for place, (block, name) in enumerate(zip(vae.decoder.up_blocks, SKIPS, strict=True)):
        # The convolution is looked up when it is used: an adapter replaces it.
        convolve = partial(_apply, vae.decoder, name)
        block.register_forward_pre_hook(partial(_add_kept, seen, len(SKIPS) - 1 - place, convolve))


def load_tuned(path: Path, parts: BaseParts, content: Mapping[str, Any]) -> None:
    """Put a checkpoint's weights into the base; raises TrainingError where they don't fit."""
    from peft import LoraConfig  # type: ignore[import-not-found,unused-ignore]

    lora = LoraConfig(
        r=content["rank_vae"],
        init_lora_weights="gaussian",
        target_modules=content["vae_lora_target_modules"],
    )
    parts.vae.add_adapter(lora, adapter_name=ADAPTER)
    for module, name in ((parts.vae, "state_dict_vae"), (parts.unet, "state_dict_unet")):
        try:
            found = module.load_state_dict(content[name], strict=False)
        except RuntimeError as error:
            raise TrainingError(f"{path}: {name} does not fit {BASE_MODEL}: {error}") from error
        if found.unexpected_keys:
            unknown = found.unexpected_keys[0]
            raise TrainingError(f"{path}: {name} has {unknown}, which {BASE_MODEL} lacks")


def _keep_input(seen: dict[int, Tensor], place: int, _: nn.Module, given: tuple[Any, ...]) -> None:
    seen[place] = given[0]


def _add_kept(
    seen: dict[int, Tensor], place: int, convolve: Any, _: nn.Module, given: tuple[Any, ...]
) -> tuple[Any, ...]:
    return (given[0] + convolve(seen[place]), *given[1:])


def _apply(decoder: Any, name: str, kept: Tensor) -> Tensor:
    convolved: Tensor = getattr(decoder, name)(kept)
    return convolved
