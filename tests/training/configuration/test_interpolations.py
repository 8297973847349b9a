"""`${…}` is resolved as the trainer will see it, without OmegaConf where that is not needed."""

from __future__ import annotations

import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from preprocess.faults import FaultsError
from training.configuration import interpolations
from training.configuration.interpolations import resolve, resolve_what_is_known

CONTENT = {
    "seed": 3,
    "name": "${oc.env:TS_TEST_NAME,some/file.npz}",
    "run": {"same": "${seed}", "list": ["${seed}", "b"], "root": "${oc.env:TS_TEST_ROOT,/r}/x"},
}


@pytest.mark.parametrize("value", [None, "", "12", "/a b/ü.npz"])
def test_the_quick_way_and_omegaconf_agree(monkeypatch, value):
    """A fingerprint must not depend on the way, whatever the variable holds."""
    if value is None:
        monkeypatch.delenv("TS_TEST_NAME", raising=False)
    else:
        monkeypatch.setenv("TS_TEST_NAME", value)
    expected = OmegaConf.to_container(OmegaConf.create({"name": CONTENT["name"]}), resolve=True)
    assert resolve({"name": CONTENT["name"]}) == expected
    assert resolve(CONTENT)["name"] == expected["name"]


def test_everything_is_resolved():
    """Keys, lists, variables inside a text."""
    resolved = resolve(CONTENT)
    assert resolved["run"] == {"same": 3, "list": [3, "b"], "root": "/r/x"}


def test_an_interpolation_that_fails_is_named():
    """A key that is not there."""
    with pytest.raises(FaultsError, match="nowhere"):
        resolve({"a": "${nowhere}"})


def test_variables_alone_need_no_omegaconf():
    """A plain dry run does not pay for its import."""
    code = (
        "import sys; from training.configuration.interpolations import resolve;"
        f"resolve({{'name': {CONTENT['name']!r}}}); sys.exit('omegaconf' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_of_another_scripts_configuration_what_is_unknown_stays_text():
    """Resolvers that only the script has, Hydra's `now`, and keys that are missing."""
    content = {
        "seed": 3,
        "same": "${seed}",
        "day": "${now:%Y-%m-%d}-${seed}",
        "own": "${mine:${seed}}",
        "gone": "${nowhere}",
        "both": ["${seed}", "${nowhere}"],
        "deep": {"root": "${oc.env:TS_TEST_NOWHERE}"},
    }
    assert resolve_what_is_known(content) == {
        "seed": 3,
        "same": 3,
        "day": "${now:%Y-%m-%d}-3",
        "own": "${mine:3}",
        "gone": "${nowhere}",
        "both": ["${seed}", "${nowhere}"],
        "deep.root": "${oc.env:TS_TEST_NOWHERE}",
    }


def test_the_variables_that_a_value_reads():
    """Their values go with the plan, so that a job reads the same file."""
    assert interpolations.variables_named("${oc.env:A,x}/${oc.env:B}") == ["A", "B"]
    text = "${ oc.env : A }${oc.env:'B',x}${oc.decode:${oc.env:C}}"
    assert interpolations.variables_named(text) == ["A", "B", "C"]
    assert interpolations.variables_named(["${oc.env:A}"]) == ["A"]
    assert interpolations.variables_named(3) == []
