"""What counts as sources, and how copies of them are kept, repaired and removed."""

from __future__ import annotations

import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from preprocess.faults import FaultsError
from training.snapshots import sources as sources_module
from training.snapshots.keep import keep, remove_unneeded
from training.snapshots.manifest import read_manifest
from training.snapshots.sources import Reading, read_sources
from training.snapshots.start import SourcesChangedError, from_sources

CHECKOUT = Path(__file__).resolve().parents[3]
DAY_S = 24 * 3600


@pytest.fixture
def folder(tmp_path) -> Path:
    made = tmp_path / "code"
    (made / "conf").mkdir(parents=True)
    (made / "train.py").write_text("import helper")
    (made / "helper.py").write_text("value = 1")
    (made / "conf" / "train.yaml").write_text("seed: 1")
    return made


def read(folder: Path, tmp_path: Path, config: Path | None = None, **more: bool) -> Reading:
    roots = (tmp_path / "code" / "results", tmp_path / "state")
    keep_copy = more.get("keep", True)
    return read_sources(
        folder / "train.py", config, None, roots, tmp_path / "state", keep=keep_copy
    )


def git(folder: Path, *arguments: str) -> None:
    author = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", "-C", str(folder), *author, *arguments], check=True, timeout=30)


def names(reading: Reading) -> set[str]:
    return set(reading.manifest.files)


def start(reading: Reading, folder: Path) -> tuple[tuple[str, ...], dict[str, str]]:
    return from_sources(reading.sources, ("python", str(folder / "train.py"), "a=1"), {})


def make_old(*paths: Path) -> None:
    for path in paths:
        os.utime(path, (time.time() - 2 * DAY_S,) * 2)


def test_git_says_what_the_sources_are(folder, tmp_path):
    """Tracked and untracked files of the whole repository; neither ignored nor deleted ones."""
    (folder / ".gitignore").write_text("data/\n")
    (folder / "data").mkdir()
    (folder / "data" / "big.bin").write_text("big")
    (folder / "gone.py").write_text("")
    git(folder, "init", "--quiet")
    git(folder, "add", "gone.py", "train.py")
    (folder / "gone.py").unlink()
    nested = folder / "vendor"
    nested.mkdir()
    git(nested, "init", "--quiet")
    (nested / "lib.py").write_text("")
    (folder / "scripts").mkdir()
    (folder / "scripts" / "other.py").write_text("")
    reading = read(folder, tmp_path)
    expected = {".gitignore", "train.py", "helper.py", "conf/train.yaml", "vendor/lib.py"}
    assert names(reading) == expected | {"scripts/other.py"}
    assert reading.beside == ("data",)


def test_a_launch_from_a_git_hook_keeps_the_scripts_own_repository(folder, tmp_path, monkeypatch):
    """A hook's variables name the repository that it belongs to."""
    (folder / ".gitignore").write_text("data/\n")
    (folder / "data").mkdir()
    (folder / "data" / "big.bin").write_text("big")
    git(folder, "init", "--quiet")
    expected = names(read(folder, tmp_path))
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert names(read(folder, tmp_path)) == expected


def test_a_script_that_git_ignores_is_kept_with_its_folder(folder, tmp_path):
    """Its repository says nothing about it."""
    (folder / ".gitignore").write_text("*\n")
    git(folder, "init", "--quiet")
    assert names(read(folder, tmp_path)) >= {"train.py", "helper.py", "conf/train.yaml"}


def test_environments_caches_results_and_hidden_folders_are_no_sources(folder, tmp_path):
    """Of a folder without a repository."""
    for name in (".cache/a.py", "env/a.py", "__pycache__/a.pyc", "results/run.json"):
        (folder / name).parent.mkdir()
        (folder / name).write_text("")
    (folder / "env" / "pyvenv.cfg").write_text("")
    assert names(read(folder, tmp_path)) == {"train.py", "helper.py", "conf/train.yaml"}


def test_the_own_trainers_sources_are_its_packages_and_assets(tmp_path):
    """Neither scene files nor this site's paths, which decide nothing of a result."""
    script = CHECKOUT / "training" / "simple_multi_human_trainer.py"
    reading = read_sources(script, None, CHECKOUT, (), tmp_path, keep=True)
    expected = {"training/configs/train.yaml", "preprocess/assets/body.npz", "training/__init__.py"}
    assert names(reading) >= expected
    assert not any("scenes/" in name or "paths.yaml" in name for name in names(reading))


def test_links_mean_the_same_in_the_copy(folder, tmp_path):
    """A link to a file is its content; one to a folder outside leads there."""
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (outside / "shared.py").write_text("value = 2")
    (folder / "shared.py").symlink_to(outside / "shared.py")
    (folder / "assets").symlink_to("../elsewhere")
    (folder / "configs").symlink_to("conf")
    reading = read(folder, tmp_path)
    keep(reading)
    copy = reading.sources.copy_folder
    (outside / "shared.py").write_text("value = 3")
    assert (copy / "shared.py").read_text() == "value = 2"
    assert (copy / "assets" / "shared.py").read_text() == "value = 3"
    assert (copy / "configs").resolve() == copy / "conf"
    start(reading, folder)


def test_secrets_stay_unreadable_for_others(folder, tmp_path):
    """A copy takes away permissions and gives none."""
    (folder / "token.txt").write_text("hush")
    (folder / "token.txt").chmod(0o600)
    reading = read(folder, tmp_path)
    keep(reading)
    assert (reading.sources.copy_folder / "token.txt").stat().st_mode & 0o777 == 0o400


def test_launches_at_the_same_time_share_one_copy(folder, tmp_path):
    """Each finds it whole, and nothing else is left."""
    readings = [read(folder, tmp_path) for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(keep, readings))
    (digest,) = {reading.sources.digest for reading in readings}
    assert sorted(path.name for path in (tmp_path / "state" / "snapshots").iterdir()) == [
        digest,
        f"{digest}.json",
    ]
    start(readings[0], folder)


@pytest.mark.parametrize("damage", ["edited", "deleted", "manifest"])
def test_a_damaged_copy_is_refused_and_repaired_by_the_next_launch(folder, tmp_path, damage):
    """Whether a file was edited or deleted, or the manifest cut off."""
    reading = read(folder, tmp_path)
    keep(reading)
    helper = reading.sources.copy_folder / "helper.py"
    if damage == "manifest":
        reading.sources.manifest_file.write_text("{")
        read_manifest.cache_clear()
    else:
        helper.unlink()
    if damage == "edited":
        helper.write_text("value = 9")
    with pytest.raises(SourcesChangedError, match=r"helper\.py|not known"):
        start(reading, folder)
    keep(read(folder, tmp_path))
    assert helper.read_text() == "value = 1"
    command, environment = start(reading, folder)
    assert command == ("python", str(reading.sources.copy_folder / "train.py"), "a=1")
    assert environment["PYTHONPATH"].split(os.pathsep)[0] == str(reading.sources.copy_folder)


def test_a_full_disk_is_a_fault_and_leaves_nothing_half(folder, tmp_path, monkeypatch):
    """The remedy is named."""

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    reading = read(folder, tmp_path)
    with pytest.raises(FaultsError, match="--no-snapshot"):
        keep(reading)
    assert not any(path.is_dir() for path in reading.sources.folder.iterdir())


@pytest.mark.parametrize("limit", ["MOST_FILES", "MOST_BYTES"])
def test_what_is_too_large_is_compared_instead(folder, tmp_path, monkeypatch, limit):
    """Said in one line; data and logs that scenes write there don't count, code does."""
    (folder / "log.txt").write_text("a")
    monkeypatch.setattr(sources_module, limit, 3)
    reading = read(folder, tmp_path)
    assert not reading.sources.is_kept
    assert "too large" in reading.warning
    assert "\n" not in reading.warning
    keep(reading)
    (folder / "log.txt").write_text("b")
    assert start(reading, folder)[0][1] == str(folder / "train.py")
    (folder / "train.py").write_text("other")
    with pytest.raises(SourcesChangedError, match=r"train\.py"):
        start(reading, folder)


def test_a_configuration_elsewhere_is_compared(folder, tmp_path):
    """What --train-config names outside the sources can't be read from a copy."""
    config = tmp_path / "site.yaml"
    config.write_text("seed: 1")
    reading = read(folder, tmp_path, config)
    keep(reading)
    start(reading, folder)
    config.write_text("seed: 2")
    with pytest.raises(SourcesChangedError, match=r"site\.yaml"):
        start(reading, folder)


def test_old_snapshots_that_no_plan_needs_are_removed(folder, tmp_path):
    """Not those that a plan names, are young, or have files of somebody else."""
    kept = []
    for number in range(4):
        (folder / "helper.py").write_text(f"value = {number}")
        reading = read(folder, tmp_path)
        keep(reading)
        kept.append(reading.sources)
    needed, young, used, unneeded = kept
    (used.copy_folder / "results.csv").write_text("1")
    for each in (needed, used, unneeded):
        make_old(each.copy_folder, each.manifest_file)
    (unneeded.copy_folder / "__pycache__").mkdir()
    make_old(unneeded.copy_folder)
    remove_unneeded(needed.folder, lambda: {needed.digest})
    assert {each.digest for each in kept if each.copy_folder.exists()} == {
        needed.digest,
        young.digest,
        used.digest,
    }
    assert not unneeded.manifest_file.exists()


def test_old_snapshots_stay_where_nobody_knows_which_are_needed(folder, tmp_path):
    """Another user's plan may need them: a launch neither ends by that nor removes any."""
    reading = read(folder, tmp_path)
    keep(reading)
    make_old(reading.sources.copy_folder, reading.sources.manifest_file)

    def unknown():
        raise PermissionError(13, "Permission denied", "x.snapshot")

    remove_unneeded(reading.sources.folder, unknown)
    assert reading.sources.copy_folder.exists()


def test_an_old_snapshot_that_a_launch_chooses_is_young_again(folder, tmp_path):
    """So that no other launch removes it before the plan is written."""
    reading = read(folder, tmp_path)
    keep(reading)
    make_old(reading.sources.copy_folder, reading.sources.manifest_file)
    keep(read(folder, tmp_path))
    remove_unneeded(reading.sources.folder, set)
    start(reading, folder)
