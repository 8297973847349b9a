"""An installed copy of the sources has no place of its own: it starts at the current folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from preprocess import roots
from preprocess.roots import resolve_root_folders, shipped, start_folder, under_checkout
from training.plan.options import LaunchOptions
from training.plan.train_script import OWN_SCRIPT, given_path

SLURM_SCRIPT = "training/submit.slurm"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder, with an installed copy beside it: packages without a pyproject.toml."""
    copy = tmp_path / "site-packages"
    (copy / "training" / "configs").mkdir(parents=True)
    (copy / SLURM_SCRIPT).touch()
    monkeypatch.setattr(roots, "CHECKOUT", copy)
    monkeypatch.delenv(roots.CHECKOUT_VARIABLE, raising=False)
    folder = tmp_path / "me"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_an_installed_copy_keeps_results_in_the_current_folder(here: Path) -> None:
    """And reads the paths.yaml there; site-packages is nobody's place for results."""
    assert resolve_root_folders({}, {})["results_root"] == here / "outputs" / "results"
    site = here / "training" / "configs" / "paths.yaml"
    site.parent.mkdir(parents=True)
    site.write_text("results_root: elsewhere\n")
    assert resolve_root_folders({}, {})["results_root"] == here / "elsewhere"
    (roots.CHECKOUT / "training" / "configs" / "paths.yaml").write_text("results_root: /wrong\n")
    assert resolve_root_folders({}, {})["results_root"] == here / "elsewhere"


def test_a_file_that_is_shipped_gives_way_to_the_users_own(here: Path) -> None:
    """The Slurm script, by the same relative path."""
    assert shipped(SLURM_SCRIPT) == roots.CHECKOUT / SLURM_SCRIPT
    (here / "training").mkdir()
    (here / SLURM_SCRIPT).touch()
    assert shipped(SLURM_SCRIPT) == here / SLURM_SCRIPT


def test_relative_paths_of_a_configuration_start_there_too(here: Path) -> None:
    """What the copy has is read in the copy: the body file of the defaults."""
    body = roots.CHECKOUT / "preprocess" / "body.npz"
    body.parent.mkdir()
    body.touch()
    assert under_checkout("preprocess/body.npz") == body
    assert under_checkout("outputs/refiner") == here / "outputs" / "refiner"


def test_processes_that_start_elsewhere_are_told(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trainer's working folder is the copy, not the user's."""
    told = roots.variables_of_installed_copy()
    monkeypatch.chdir(tmp_path)
    assert start_folder({}) == tmp_path
    assert start_folder(told) == here


def test_a_checkout_starts_at_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From whatever folder; and the trainer is always the one beside these sources."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(roots.CHECKOUT_VARIABLE, raising=False)
    assert start_folder() == roots.CHECKOUT
    assert roots.variables_of_installed_copy() == {}
    (tmp_path / "training").mkdir()
    (tmp_path / SLURM_SCRIPT).touch()
    options = LaunchOptions(exp_name="e")
    assert given_path(options, "slurm_script") == roots.CHECKOUT / SLURM_SCRIPT
    assert given_path(options, "train_script") == OWN_SCRIPT
