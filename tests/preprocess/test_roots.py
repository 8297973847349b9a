"""Paths that people give: flags, variables and paths.yaml mean the same by the same text."""

from __future__ import annotations

from pathlib import Path

import pytest

from preprocess.faults import FaultsError
from preprocess.roots import absolute, resolve_root_folders
from preprocess.scene import Scene
from preprocess.scene_data import truth_folder

KEYS = ("results_root", "scene_data_root", "state_root")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home of its own, as `~` and `$HOME` and, below it, `$LAB`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LAB", str(tmp_path / "lab"))
    monkeypatch.delenv("NOWHERE", raising=False)
    return tmp_path


@pytest.mark.parametrize("text", ["~/lab/x", "$HOME/lab/x", "${HOME}/lab/x", "$LAB/x", "$LAB/./x"])
def test_home_and_variables_mean_the_same_everywhere(home: Path, text: str) -> None:
    """Flags that a form or `--flag=~/x` did not expand, variables, paths.yaml."""
    wanted = home / "lab" / "x"
    site = home / "paths.yaml"
    site.write_text("".join(f"{key}: {text}\n" for key in KEYS))
    variables = {"TS_RESULTS_ROOT": text, "TS_SCENE_DATA_ROOT": text, "TS_STATE_ROOT": text}
    for flags, environ in ((dict.fromkeys(KEYS, text), {}), ({}, variables), ({}, {})):
        assert set(resolve_root_folders(flags, environ, site).values()) == {wanted}
    assert absolute(text) == wanted
    truth = truth_folder(Scene(seq_name="a", cam_id=1, raw_gt_dir_path=text), home)
    assert truth is not None
    assert truth.root.resolve() == wanted


@pytest.mark.parametrize("text", ["$NOWHERE/x", "/data/${NOWHERE}", "~nobody_of_this_name/x"])
def test_a_root_that_is_not_known_here_is_refused(home: Path, text: str) -> None:
    """Results would go to a folder called $NOWHERE."""
    with pytest.raises(FaultsError, match="results_root is not known here") as caught:
        resolve_root_folders({"results_root": text, "state_root": text}, {}, home / "none")
    assert len(caught.value.faults) == 2


def test_a_dollar_that_names_no_variable_is_a_letter(home: Path) -> None:
    """As in `cost$`; nor is ~ inside a path."""
    folder = home / "~backup" / "cost$"
    flags = dict.fromkeys(KEYS, str(folder))
    assert resolve_root_folders(flags, {}, home / "none")["state_root"] == folder
