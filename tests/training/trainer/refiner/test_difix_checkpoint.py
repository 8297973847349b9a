"""A checkpoint of the public DiFix training goes into sd-turbo's parts; stand-ins of both here."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from training.trainer.config.compose import load_config
from training.trainer.refiner import weights
from training.trainer.refiner.difix_checkpoint import BaseParts, TunedDifixRefiner, add_skips
from training.trainer.refiner.refiner import load_refiner
from training.trainer.refiner.weights import PACKAGES, kind_of, missing_refiner
from training.trainer.termination import TrainingError

INTO_ENCODER = (128, 128, 256, 512)
INTO_DECODER = (512, 512, 512, 256)
LORA = "decoder.skip_conv_1.lora"


class Vae(nn.Module):
    """The channels of sd-turbo's VAE where skips leave and enter; everything else is left out."""

    def __init__(self):
        super().__init__()
        self.config = SimpleNamespace(scaling_factor=0.5)
        self.encoder, self.decoder = nn.Module(), nn.Module()
        self.encoder.down_blocks = nn.ModuleList(nn.Identity() for _ in INTO_ENCODER)
        self.decoder.up_blocks = nn.ModuleList(nn.Identity() for _ in INTO_DECODER)
        self.adapters = []

    def add_adapter(self, config, adapter_name):
        self.adapters.append((config.r, config.target_modules, adapter_name))
        self.decoder.skip_conv_1.lora = nn.Parameter(torch.zeros(1))

    def encode(self, images):
        for block, channels in zip(self.encoder.down_blocks, INTO_ENCODER, strict=True):
            block(images.mean(1, keepdim=True).expand(-1, channels, -1, -1))
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: images[:, :1]))

    def decode(self, latents):
        came = [
            block(latents.expand(-1, channels, -1, -1) * 0, None)
            for block, channels in zip(self.decoder.up_blocks, INTO_DECODER, strict=True)
        ]
        self.came = [part.mean().item() for part in came]
        return SimpleNamespace(sample=latents.expand(-1, 3, -1, -1))


class Block(nn.Module):
    def forward(self, cells, _latents=None):
        return cells


class Unet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv_in = nn.Conv2d(1, 1, 1)

    def forward(self, latents, step, encoder_hidden_states):
        self.asked = (len(latents), step.tolist(), len(encoder_hidden_states))
        return SimpleNamespace(sample=self.conv_in(latents))


class Scheduler:
    def set_timesteps(self, steps, device):
        assert (steps, device.type) == (1, "cpu")

    def step(self, noise, _step, latents, return_dict):
        assert return_dict
        return SimpleNamespace(prev_sample=latents - noise)


class Tokenizer:
    model_max_length = 4

    def __call__(self, prompt, **_):
        assert prompt == "remove degradation"
        return SimpleNamespace(input_ids=torch.zeros(1, 4, dtype=torch.long))


class TextEncoder(nn.Module):
    def forward(self, tokens):
        return (torch.zeros(*tokens.shape, 3),)


@pytest.fixture
def parts(monkeypatch):
    """Parts like those of sd-turbo, and a stand-in for the package that adds adapters."""
    config = type("LoraConfig", (SimpleNamespace,), {})
    monkeypatch.setitem(sys.modules, "peft", SimpleNamespace(LoraConfig=config))
    vae = Vae()
    vae.encoder.down_blocks = nn.ModuleList(Block() for _ in INTO_ENCODER)
    vae.decoder.up_blocks = nn.ModuleList(Block() for _ in INTO_DECODER)
    return BaseParts(Tokenizer(), TextEncoder(), vae, Unet(), Scheduler(), sees_reference=True)


def content(**changed):
    """What the public script saves, with a U-Net that predicts 0.25 of noise everywhere."""
    skips = {
        f"decoder.skip_conv_{number}.weight": torch.full((outer, inner, 1, 1), number / inner)
        for number, (inner, outer) in enumerate(
            ((512, 512), (256, 512), (128, 512), (128, 256)), start=1
        )
    }
    saved = {
        "vae_lora_target_modules": ["decoder.skip_conv_1"],
        "rank_vae": 4,
        "state_dict_unet": {
            "conv_in.weight": torch.zeros(1, 1, 1, 1),
            "conv_in.bias": torch.full((1,), 0.25),
        },
        "state_dict_vae": skips | {LORA: torch.full((1,), 7.0)},
        "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 2e-5}]},
    }
    return saved | changed


def difix_settings(model_id):
    config = load_config(["shared.scene_name=s", "shared.exp_name=e"])
    return config.difix.model_copy(update={"trn_enable": True, "model_id": model_id})


def saved(tmp_path, what=None):
    path = tmp_path / "model_2001.pkl"
    torch.save(content() if what is None else what, path)
    return path


def test_its_weights_and_skips_are_in_effect(parts, tmp_path):
    """One step from 199 on render and reference; what comes in opposite goes through its skip."""
    refiner = TunedDifixRefiner(str(saved(tmp_path)), torch.device("cpu"), parts)
    assert parts.vae.adapters == [(4, ["decoder.skip_conv_1"], "vae_skip")]
    assert parts.vae.decoder.skip_conv_1.lora == 7
    refined = refiner.refine(torch.full((50, 70, 3), 0.8), torch.full((50, 70, 3), 0.4))
    assert refined.shape == (50, 70, 3)
    assert parts.unet.asked == (2, [199], 2)
    # Latent 0.6 · 0.5, less 0.25, by 0.5: 0.1 in [-1, 1].
    torch.testing.assert_close(refined, torch.full((50, 70, 3), 0.55), atol=0.004, rtol=0)
    mean = (0.6 - 0.2) / 2  # of both views, in [-1, 1]
    assert parts.vae.came == pytest.approx([mean * number for number in (1, 2, 3, 4)], abs=0.02)


def test_a_skip_adds_what_went_into_the_opposite_block(parts):
    add_skips(parts.vae)
    for number in (1, 2, 3, 4):
        nn.init.constant_(getattr(parts.vae.decoder, f"skip_conv_{number}").weight, 0.0)
    nn.init.constant_(parts.vae.decoder.skip_conv_2.weight, 1 / 256)
    parts.vae.encode(torch.full((1, 3, 8, 8), 0.5))
    parts.vae.decode(torch.zeros(1, 1, 8, 8))
    assert parts.vae.came == pytest.approx([0, 0.5, 0, 0])


def test_a_file_that_would_run_code_is_refused_and_runs_none(parts, tmp_path):
    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "was here"),)

    path = saved(tmp_path, {"state_dict_unet": Attack()})
    with pytest.raises(TrainingError, match="can't be read as tensors and plain data"):
        TunedDifixRefiner(str(path), torch.device("cpu"), parts)
    assert not (tmp_path / "was here").exists()


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"weights": 1}, "no state_dict_unet"),
        ([1], "no state_dict_unet"),
        (content(state_dict_unet={"other.weight": torch.ones(1)}), "has other.weight, which"),
        (content(state_dict_unet={"conv_in.bias": torch.ones(2)}), "does not fit"),
    ],
)
def test_weights_of_another_network_are_refused(parts, tmp_path, what, said):
    with pytest.raises(TrainingError, match=said):
        TunedDifixRefiner(str(saved(tmp_path, what)), torch.device("cpu"), parts)


def test_without_the_base_model_it_is_refused_before_torch_loads_it(tmp_path, monkeypatch):
    monkeypatch.setitem(PACKAGES, "checkpoint", ())
    monkeypatch.setattr(weights, "_is_cached", lambda _: False)
    path = saved(tmp_path)
    assert kind_of(str(path)) == "checkpoint"
    difix = difix_settings(str(path))
    (fault,) = missing_refiner(difix)
    assert fault.value == "stabilityai/sd-turbo"
    monkeypatch.setattr(weights, "_is_cached", lambda _: True)
    assert missing_refiner(difix) == []
    path.unlink()
    assert missing_refiner(difix)[0].what == "difix.model_id is not a file"


def test_the_folder_of_its_training_names_its_last_checkpoint(tmp_path, monkeypatch):
    """The public script's output folder is no model, but what is meant is there."""
    monkeypatch.setitem(PACKAGES, "diffusers", ())
    monkeypatch.setattr(weights, "_is_cached", lambda _: False)
    (tmp_path / "checkpoints").mkdir()
    path = saved(tmp_path / "checkpoints")
    difix = difix_settings(str(tmp_path))
    assert f"difix.model_id={path}" in missing_refiner(difix)[0].remedy


def test_a_checkpoint_is_loaded_by_its_name(tmp_path, monkeypatch):
    """`load_refiner` knows it from the suffix; what it lacks here is the base."""
    monkeypatch.setattr(
        "training.trainer.refiner.difix_checkpoint.base_parts",
        lambda: pytest.fail("the file is read first"),
    )
    with pytest.raises(TrainingError, match="no state_dict_unet"):
        load_refiner(str(saved(tmp_path, {"a": 1})), torch.device("cpu"))
