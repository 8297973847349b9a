"""Files are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import os
import stat

import pytest

from training.system import atomic_write
from training.system.atomic_write import write_atomically, write_json_atomically
from training.system.claim_file import VARIABLE, ClaimLostError


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_into_folders_that_did_not_exist(tmp_path):
    """Text and bytes alike, with the permissions that the umask leaves."""
    for content in ("ü", "ü".encode()):
        path = tmp_path / type(content).__name__ / "deep" / "file"
        before = os.umask(0o027)
        try:
            write_atomically(path, content)
        finally:
            os.umask(before)
        assert path.read_text("utf-8") == "ü"
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert names_in(path.parent) == ["file"]


@pytest.mark.parametrize("sole_writer", [False, True])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, sole_writer):
    """The disk refuses at the end, when the bytes have been written."""
    path = tmp_path / "file"
    write_atomically(path, "old")

    def refuse(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic_write.os, "fsync", refuse)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new", sole_writer=sole_writer)
    assert path.read_text("utf-8") == "old"
    assert names_in(tmp_path) == ["file"]


def test_killed_writers_of_large_files_leave_one_temporary_file_at_most(tmp_path, monkeypatch):
    """The next sole writer writes over what the killed one left."""
    path = tmp_path / "last.pt"
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", lambda *_: None)  # killed before the rename
        for _ in range(2):
            write_atomically(path, "half", sole_writer=True)
    assert names_in(tmp_path) == [".last.pt.partial"]
    write_atomically(path, "whole", sole_writer=True)
    assert names_in(tmp_path) == ["last.pt"]


def test_json_without_nan(tmp_path):
    """Readers of strict JSON could not read it: the old file stays."""
    path = tmp_path / "metrics.json"
    write_json_atomically(path, {"psnr": 20.5})
    assert path.read_text("utf-8") == '{\n  "psnr": 20.5\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json_atomically(path, {"psnr": float("nan")})
    assert "20.5" in path.read_text("utf-8")


@pytest.mark.parametrize("is_late", [False, True])
def test_a_trainer_whose_scene_is_another_runs_writes_nothing(tmp_path, monkeypatch, is_late):
    """It was suspended and taken for dead, maybe while the disk took its time."""
    checkpoint, mine = tmp_path / "last.pt", tmp_path / ".claim" / "000001.json"
    write_atomically(mine, "{}")
    monkeypatch.setenv(VARIABLE, str(mine))
    write_atomically(checkpoint, "old")

    def take_over():
        write_atomically(mine.with_name("000002.json"), "{}")

    if is_late:
        write = atomic_write.write_durably
        steps = [take_over]
        monkeypatch.setattr(
            atomic_write,
            "write_durably",
            lambda *arguments, **options: (write(*arguments, **options), steps and steps.pop()()),
        )
    else:
        take_over()
    with pytest.raises(ClaimLostError, match="000002"):
        write_atomically(checkpoint, "late")
    assert checkpoint.read_text() == "old"
    assert names_in(tmp_path) == [".claim", "last.pt"]
