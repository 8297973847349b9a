"""What the launcher sets can't be set beside it, by whatever notation."""

from __future__ import annotations

import pytest

from training.configuration.reserved_keys import reserved_by_effect, reserved_by_name
from training.plan.options import LaunchOptions
from training.plan.train_script import OWN_CONFIG, load_train_script

CONFIG = """
seed: 0
shared:
  scene_name: ???
  exp_name: ???
  wandb: {enable: false}
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "conf" / "train.yaml"
    path.parent.mkdir()
    path.write_text(CONFIG)
    return path


NAMED = [
    "shared.scene_name=other",
    "+shared.scene_name=other",
    "++shared.exp_name=other",
    "~shared.scene_name",
    "shared.scene_name =other",
    "--shared.scene_name=other",
    "shared[scene_name]=other",
    "shared.scene_name.first=other",
    "shared.results_root=/elsewhere",
]
SECTIONS = [
    "shared={scene_name:other}",
    "+shared={exp_name:'other'}",
    "++shared={wandb:{enable:true},scene_name:other}",
    "~shared",
    "shared=null",
]


@pytest.mark.parametrize("override", NAMED + SECTIONS)
def test_a_script_without_configuration_is_judged_by_name(override):
    """Its sections too: nobody knows how the script reads them."""
    (fault,) = reserved_by_name(["seed=1", override, "shared_memory=1", "my.shared.scene_name=1"])
    assert repr(override) in str(fault)
    assert "--scene-name-includes" in str(fault) or "use --" in str(fault)


@pytest.mark.parametrize("override", SECTIONS)
def test_a_section_that_changes_a_reserved_key_is_refused(config, override):
    """By what Hydra composes, of another application and of the project's own trainer."""
    for known in (config, OWN_CONFIG):
        (fault,) = reserved_by_effect(known, ["seed=1", override])
        assert repr(override) in str(fault)


@pytest.mark.parametrize("override", ["shared={wandb:{enable:true}}", "+shared.mine=1", "~seed"])
def test_a_section_may_change_in_its_other_keys(config, override):
    """Only what the launcher sets is its own."""
    assert reserved_by_effect(config, [override]) == []


def test_no_such_override_needs_no_hydra(config, monkeypatch):
    """A configuration is composed once more only where a section of ours is touched."""
    from training.configuration import reserved_keys

    monkeypatch.setattr(reserved_keys, "composing", pytest.fail)
    assert reserved_by_effect(config, ["seed=1", "wandb=2"]) == []


@pytest.mark.parametrize("given", ["nothing", "--train-config"])
@pytest.mark.parametrize("override", [NAMED[0], NAMED[2], *SECTIONS])
def test_a_launch_of_another_script_refuses_it(config, tmp_path, given, override):
    """Before anything starts, with or without a configuration."""
    script = tmp_path / "mine.py"
    script.touch()
    more = {} if given == "nothing" else {"train_config": str(config)}
    options = LaunchOptions(exp_name="exp", train_script=str(script), overrides=(override,), **more)
    faults = load_train_script(options, None).faults
    assert any("sets what the launcher sets" in each.what for each in faults)
