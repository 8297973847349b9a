"""Before anything is queued: the image refiner that scenes are trained with, and its weights."""

from __future__ import annotations

import json

import pytest

from preprocess.registry import load_scenes
from preprocess.roots import CHECKOUT
from training.plan.checks import refiner_faults
from training.plan.train_script import _refiner_file
from training.trainer.config.compose import load_config

SCENES = CHECKOUT / "preprocess" / "scenes"
REFINED = ("train.nv_generation.trn_nv_gen.source=refined", "difix.trn_enable=true")


@pytest.fixture
def refiner(tmp_path):
    """Weights that were tuned on the first pair of the bundled scenes."""
    (tmp_path / "model.pt").write_bytes(b"weights")
    tuned_on = {"groups": ["synthetic/pair01"], "scenes": []}
    (tmp_path / "tuned_on.json").write_text(json.dumps(tuned_on))
    return tmp_path


def schema(*overrides):
    return load_config(["shared.scene_name=any", "shared.exp_name=exp", *REFINED, *overrides])


def test_every_scene_of_the_refiner_s_group_is_named(refiner):
    faults = refiner_faults(schema(f"difix.model_id={refiner}"), load_scenes(SCENES))
    assert [str(fault).count("synthetic/pair01") for fault in faults] == [1, 1]
    assert "synthetic_pair01_hug" in faults[0].what
    label = ("difix.same_group=label", f"difix.model_id={refiner}")
    assert refiner_faults(schema(*label), load_scenes(SCENES)) == []
    assert refiner_faults(schema(f"difix.model_id={refiner}/later"), load_scenes(SCENES)) == []


def test_a_scene_is_known_by_its_name_where_it_has_no_group(refiner):
    """Of a data set that is not listed, or with a name that no group is in."""
    tuned_on = {"groups": [], "scenes": ["synthetic_pair02_talk"]}
    (refiner / "tuned_on.json").write_text(json.dumps(tuned_on))
    (fault,) = refiner_faults(schema(f"difix.model_id={refiner}"), load_scenes(SCENES))
    assert "synthetic_pair02_talk" in fault.what


@pytest.mark.parametrize("content", ["", "[]", '{"groups": "pair01"}', '{"scenes": []}'])
def test_a_file_that_says_nothing_is_no_clean_bill(refiner, content):
    (refiner / "tuned_on.json").write_text(content)
    faults = refiner_faults(schema(f"difix.model_id={refiner}"), load_scenes(SCENES)[:1])
    assert "tuned_on.json can't be read" in faults[0].what


def test_a_checkpoint_of_other_weights_is_another_configuration(refiner):
    """A file's content is in the fingerprint; a folder's counts when it is used (`made_from`)."""
    checkpoint = refiner / "model.pt"
    values = {"difix.trn_enable": True, "difix.model_id": str(checkpoint)}
    assert _refiner_file(values) == {"difix.model_id": checkpoint}
    assert _refiner_file(values | {"difix.trn_enable": False}) == {}
    assert _refiner_file(values | {"difix.model_id": str(refiner)}) == {}
    assert _refiner_file(values | {"difix.model_id": "nvidia/difix_ref"}) == {}
