"""run_mode=refiner_train: what it writes, on whom it trains, and that its result can be used."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest
import torch
from PIL import Image

from training.run import main as run_launcher
from training.simple_multi_human_trainer import main
from training.trainer.refiner import train
from training.trainer.refiner.network import RefinerNetwork, SmallRefiner
from training.trainer.refiner.refiner import load_refiner
from training.trainer.termination import TrainingError

QUICK = (
    "refiner_train.steps=6",
    "refiner_train.batch_size=2",
    "refiner_train.crop=64",
    "refiner_train.channels=8",
    "refiner_train.checkpoint_every_steps=2",
)
REFINED = (
    "train.nv_generation.trn_nv_gen.source=refined",
    "train.nv_generation.trn_nv_gen.num_cameras=1",
    "train.nv_generation.nv_gen_epoch=1",
    "difix.trn_enable=true",
)


def tune(place, *overrides):
    names = ("shared.exp_name=exp", f"shared.results_root={place.results}")
    return main(["run_mode=refiner_train", *names, *QUICK, *overrides])


def folder(place):
    return place.results / "_experiments" / "exp" / "refiner"


@pytest.fixture
def dataset(shards):
    """Four scenes whose shards are merged: pair01 to train on, pair02 held out."""
    assert shards.aggregate() == 0
    return shards


def test_it_trains_on_the_train_groups_and_measures_on_the_others(dataset, capsys):
    assert tune(dataset) == 0
    assert "PSNR" in capsys.readouterr().out
    tuned_on = json.loads((folder(dataset) / "tuned_on.json").read_text())
    assert tuned_on["groups"] == ["synthetic/pair01"]
    assert tuned_on["scenes"] == ["synthetic_pair01_hug", "synthetic_pair01_wave"]
    beside_the_set = dataset.dataset / "difix" / "tuned_on.json"
    assert json.loads(beside_the_set.read_text()) == tuned_on
    metrics = json.loads((folder(dataset) / "metrics.json").read_text())
    assert (metrics["train_samples"], metrics["samples"]) == (14, 16)
    assert metrics["test_groups"] == ["synthetic/pair02"]
    assert metrics["psnr_before"] > 5
    assert (folder(dataset) / metrics["picture"]).stat().st_size > 1000  # reports show it
    assert not (folder(dataset) / "checkpoints" / "last.pt").exists()
    torch.load(folder(dataset) / "model.pt", weights_only=True)


def test_its_folder_is_what_difix_model_id_names(dataset, capsys):
    assert tune(dataset) == 0
    named = (*REFINED, f"difix.model_id={folder(dataset)}")
    assert dataset.train(*named, name="synthetic_pair02_talk") == 0
    assert "tuned on other groups" in capsys.readouterr().out
    metrics = dataset.metrics(name="synthetic_pair02_talk")
    assert metrics["refiner_tuned_on"] == "other groups"


def test_a_scene_of_the_group_it_was_tuned_on_is_refused(dataset, capsys):
    """By name of the group, and with the way to do it all the same, which is then labelled."""
    assert tune(dataset) == 0
    named = (*REFINED, f"difix.model_id={folder(dataset)}")
    assert dataset.train(*named, name="synthetic_pair01_wave") == 2
    said = capsys.readouterr().err
    assert "was tuned on the group of synthetic_pair01_wave: synthetic/pair01" in said
    assert dataset.train(*named, "difix.same_group=label", name="synthetic_pair01_wave") == 0
    metrics = dataset.metrics(name="synthetic_pair01_wave")
    assert metrics["refiner_tuned_on"] == "this scene's group"


def test_a_refiner_of_unknown_origin_is_said_to_be(dataset, capsys):
    assert tune(dataset) == 0
    (folder(dataset) / "tuned_on.json").unlink()
    named = (*REFINED, f"difix.model_id={folder(dataset)}")
    assert dataset.train(*named, name="synthetic_pair01_wave") == 0
    assert "tuned on unknown" in capsys.readouterr().out
    assert dataset.metrics(name="synthetic_pair01_wave")["refiner_tuned_on"] == "unknown"


def test_the_same_seed_gives_the_same_network_and_a_second_run_has_nothing_to_do(dataset, capsys):
    assert tune(dataset) == 0
    first = torch.load(folder(dataset) / "model.pt", weights_only=True)
    capsys.readouterr()
    assert tune(dataset) == 0
    assert "nothing to do" in capsys.readouterr().out
    (folder(dataset) / "model.pt").unlink()
    assert tune(dataset) == 0
    again = torch.load(folder(dataset) / "model.pt", weights_only=True)
    assert again["facts"] == first["facts"]
    assert all(torch.equal(again["weights"][key], value) for key, value in first["weights"].items())
    assert tune(dataset, "seed=1") == 0
    other = torch.load(folder(dataset) / "model.pt", weights_only=True)
    assert not torch.equal(
        other["weights"]["attention.query.weight"], first["weights"]["attention.query.weight"]
    )


def test_a_stopped_training_continues_to_the_same_network(dataset, capsys, monkeypatch):
    """SIGTERM between two steps writes the state; the network is that of an unbroken training.

    Where that state is damaged, the one before it is used.
    """
    assert tune(dataset) == 0
    whole = torch.load(folder(dataset) / "model.pt", weights_only=True)["weights"]
    (folder(dataset) / "model.pt").unlink()
    take_step = train._take_step

    def stopping(run):
        loss = take_step(run)
        if run.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss

    monkeypatch.setattr(train, "_take_step", stopping)
    assert tune(dataset) == 143
    monkeypatch.undo()
    assert not (folder(dataset) / "model.pt").exists()
    capsys.readouterr()
    (folder(dataset) / train.STATE).write_bytes(b"PK")
    assert tune(dataset) == 0
    said = capsys.readouterr().out
    assert "training goes on from the checkpoint before it" in said
    assert "continuing after step 2" in said
    continued = torch.load(folder(dataset) / "model.pt", weights_only=True)["weights"]
    assert all(torch.equal(continued[key], value) for key, value in whole.items())


def test_without_a_training_set_it_says_how_to_make_one(shards, capsys):
    assert tune(shards) == 2
    assert "difix_data_generation_aggregate" in capsys.readouterr().err


def test_another_training_set_can_be_named_and_an_empty_one_is_refused(dataset, tmp_path, capsys):
    content = json.loads((dataset.dataset / "difix" / "data.json").read_text())
    named = tmp_path / "mine.json"
    named.write_text(json.dumps({"train": content["test"], "test": {}}))
    assert tune(dataset, f"refiner_train.dataset={named}") == 0
    tuned_on = json.loads((folder(dataset) / "tuned_on.json").read_text())
    assert tuned_on["groups"] == ["synthetic/pair02"]
    metrics = json.loads((folder(dataset) / "metrics.json").read_text())
    assert metrics["psnr"] is None
    assert "no group is held out" in metrics["psnr_reason"]
    named.write_text(json.dumps({"train": {}, "test": content["test"]}))
    assert tune(dataset, f"refiner_train.dataset={named}") == 2
    assert "no sample in train" in capsys.readouterr().err
    named.write_text('{"train": [1]}')
    assert tune(dataset, f"refiner_train.dataset={named}") == 2
    assert "is no data.json of DiFix" in capsys.readouterr().err


def test_a_damaged_image_is_named(dataset, capsys):
    sample = next(dataset.shard_folder().glob("samples/*/target_image.jpg"))
    sample.write_bytes(sample.read_bytes()[:50])
    assert tune(dataset, "refiner_train.steps=40") == 1
    assert f"{sample} is not a whole picture" in capsys.readouterr().err


def test_it_learns_to_repair_what_is_always_wrong_in_the_same_way(tmp_path):
    """Renders that are too dark, of people in colours of their own: held-out ones are repaired."""
    content = {"train": {}, "test": {}}
    generator = np.random.default_rng(0)
    for number in range(8):
        target = np.full((64, 64, 3), 255, np.uint8)
        target[10:60, 20:44] = generator.integers(100, 200, 3)
        render = np.where(target < 255, (target * 0.6).astype(np.uint8), target)
        names = {}
        for name, image in (("image", render), ("target_image", target), ("ref_image", target)):
            names[name] = str(tmp_path / f"{number}_{name}.png")
            Image.fromarray(image).save(names[name])
        split = "train" if number < 6 else "test"
        content[split][f"mine_{number}__tcam1__rcam2__tf1__rf1"] = names
    (tmp_path / "data.json").write_text(json.dumps(content))
    keys = (f"shared.results_root={tmp_path}", "shared.exp_name=exp", "seed=3")
    dataset = f"refiner_train.dataset={tmp_path / 'data.json'}"
    quick = ("refiner_train.steps=60", "refiner_train.crop=64", "refiner_train.channels=8")
    more = ("refiner_train.learning_rate=5e-3", "refiner_train.batch_size=4")
    assert main(["run_mode=refiner_train", *keys, dataset, *quick, *more]) == 0
    metrics = json.loads((tmp_path / "_experiments/exp/refiner/metrics.json").read_text())
    assert metrics["psnr"] > metrics["psnr_before"] + 3
    assert metrics["psnr_people"] > metrics["psnr_people_before"] + 3


def test_images_of_any_size_are_refined_to_their_own_size():
    """Sides that are no multiple of 8, and a reference of another size; untrained: unchanged."""
    refiner = SmallRefiner(RefinerNetwork(8), torch.device("cpu"))
    render = torch.rand(50, 70, 3)
    torch.testing.assert_close(refiner.refine(render, torch.rand(64, 40, 3)), render)


def test_a_file_of_something_else_is_no_refiner(tmp_path):
    torch.save({"weights": {}}, tmp_path / "model.pt")
    with pytest.raises(TrainingError, match="train it again"):
        load_refiner(str(tmp_path), torch.device("cpu"))


def test_the_launcher_says_when_there_is_no_data_to_train_with(capsys, tmp_path, monkeypatch):
    """Before anything is started: exit status 2 and what makes it."""
    monkeypatch.setenv("TS_RESULTS_ROOT", str(tmp_path / "results"))
    flags = ["--run-all", "--exp-name", "e", "--overrides", "run_mode=refiner_train"]
    assert run_launcher(flags) == 2
    said = capsys.readouterr().err
    assert "the refiner's training set is not there" in said
    assert "difix_data_generation_generate" in said
    assert not (tmp_path / "results").exists()
