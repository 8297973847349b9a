"""A checkpoint's file that is damaged, of another version or can't be written is said and kept."""

from __future__ import annotations

import os
import resource

import pytest
import torch

from training.trainer import loop
from training.trainer.checkpoints import load_checkpoint, save_checkpoint

SHORT = (
    "train.optimization.epochs=1",
    "train.evaluation.eval_cameras=[4]",
    "train.evaluation.eval_frames=[1]",
)


@pytest.mark.parametrize("damage", ["cut", "scrambled", "empty", "foreign"])
def test_a_damaged_checkpoint_is_set_aside(tmp_path, capsys, damage):
    """It is kept under another name, which is printed."""
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"weights": torch.arange(4000)}, {})
    content = path.read_bytes()
    half = len(content) // 2
    broken = {
        "cut": content[:half],
        "scrambled": content[:half] + bytes(half // 2) + content[half + half // 2 :],
        "empty": b"",
        "foreign": b"PK\x03\x04 this is no checkpoint",
    }
    path.write_bytes(broken[damage])
    assert load_checkpoint(path, {}) is None
    assert "last.pt is damaged: kept as last.pt.damaged-1" in capsys.readouterr().out
    assert path.with_name("last.pt.damaged-1").read_bytes() == broken[damage]


def test_the_checkpoint_before_a_damaged_one_takes_its_place(tmp_path, capsys):
    """Two are kept; when both are damaged, training starts anew."""
    path = tmp_path / "last.pt"
    for number in range(3):
        save_checkpoint(path, {"number": number}, {})
    path.write_bytes(path.read_bytes()[:100])
    assert load_checkpoint(path, {}) == {"number": 1}
    assert "goes on from the checkpoint before it" in capsys.readouterr().out
    save_checkpoint(path, {"number": 2}, {})
    for each in (path, tmp_path / "previous.pt"):
        each.write_bytes(b"")
    assert load_checkpoint(path, {}) is None
    assert "training starts anew" in capsys.readouterr().out


def test_a_deleted_checkpoint_is_not_replaced_by_the_one_before(tmp_path):
    """It was deleted to train anew, as messages say; nor is the one before it used later."""
    path = tmp_path / "last.pt"
    for number in range(2):
        save_checkpoint(path, {"number": number}, {})
    path.unlink()
    assert load_checkpoint(path, {}) is None
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_that_would_run_code_is_not_loaded(tmp_path):
    """weights_only: a pickled call counts as damage and is not executed."""

    class Dangerous:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    path = tmp_path / "last.pt"
    torch.save({"format": 1, "identity": {}, "state": Dangerous()}, path)
    assert load_checkpoint(path, {}) is None
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("run_mode", ["train", "difix_data_generation_generate"])
def test_a_checkpoint_of_another_version_is_refused_by_name(tiny_scene, capsys, run_mode):
    """It is no damaged file: exit status 2, both formats, the way out; the file stays."""
    assert tiny_scene.train(*SHORT) == 0
    path = tiny_scene.output() / "checkpoints" / "last.pt"
    content = torch.load(path, weights_only=True)
    torch.save(content | {"format": 1}, path)
    former = path.read_bytes()
    capsys.readouterr()
    mode = (f"run_mode={run_mode}", "difix_data_generation.strict=false")
    assert tiny_scene.train(*SHORT, *mode) == 2
    error = capsys.readouterr().err
    assert f"{path} was written by another version of the trainer" in error
    assert "its format is 1, this version's 2" in error
    assert "delete the checkpoint" in error
    assert path.read_bytes() == former


def test_a_full_disk_leaves_the_previous_checkpoint_whole(tmp_path):
    """Files may not grow beyond 50 kB here: the write fails, the old file is untouched."""
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"weights": torch.zeros(10)}, {})
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            save_checkpoint(path, {"weights": torch.zeros(100_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


def test_a_failed_write_ends_the_run_with_status_1(tiny_scene, monkeypatch, capsys):
    """The message names the cause."""

    def full(*_):
        raise OSError(28, "No space left on device", "checkpoints/last.pt")

    monkeypatch.setattr(loop, "save_checkpoint", full)
    assert tiny_scene.train() == 1
    assert "No space left on device" in capsys.readouterr().err
