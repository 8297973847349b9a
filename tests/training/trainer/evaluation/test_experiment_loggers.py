"""What TensorBoard and Weights & Biases are given."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from training.trainer.config.compose import load_config
from training.trainer.evaluation.experiment_loggers import WandbLogger, report_progress

TERMS = {"rgb", "ssim", "silhouette", "depth", "offset", "scale", "pose_prior", "pose_smoothness"}


@pytest.mark.training
def test_every_term_of_the_loss_is_logged_alone(tiny_scene):
    """By its name in train.optimization.loss; together they are the loss."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert tiny_scene.train("shared.tensorboard.enable=true") == 0
    events = EventAccumulator(str(tiny_scene.output() / "tensorboard"))
    events.Reload()
    last = {name: events.Scalars(name)[-1].value for name in events.Tags()["scalars"]}
    named = {name.removeprefix("train/loss_") for name in last if name.startswith("train/loss_")}
    assert named == TERMS
    summed = sum(last[f"train/loss_{name}"] for name in TERMS)
    assert summed == pytest.approx(last["train/loss"], rel=1e-5)
    assert {"evaluation/psnr_true_poses", "evaluation/flip", "train/seconds"} <= last.keys()


def test_weights_and_biases_gets_project_team_and_labels(monkeypatch, tmp_path):
    """Offline where no key is on this machine."""
    opened = []
    fake = SimpleNamespace(init=lambda **named: opened.append(named) or SimpleNamespace())
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    keys = ("wandb.entity=lab", "wandb.tags=[demo,four]", "wandb.project=people")
    names = ("scene_name=a", "exp_name=b")
    config = load_config([f"shared.{text}" for text in (*names, *keys)])
    WandbLogger(config, tmp_path)
    (named,) = opened
    assert (named["project"], named["entity"], named["tags"]) == ("people", "lab", ["demo", "four"])
    assert (named["group"], named["name"]) == ("b", "b/a")


@pytest.mark.parametrize(
    ("on_a_terminal", "said"),
    [(True, "step 50/600, loss 0.01\n"), (False, 'TS_PROGRESS {"step": 50, "steps": 600, "loss"')],
)
def test_a_trainer_that_is_started_by_hand_speaks_in_words(
    monkeypatch, capsys, on_a_terminal, said
):
    """What a launcher reads from a log is for programs."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: on_a_terminal)
    report_progress({"step": 50, "steps": 600, "loss": 0.01})
    assert capsys.readouterr().out.startswith(said)
