"""Who may read and write our files."""

from __future__ import annotations

import os
import stat

import pytest

from training.plan.checks import folder_faults
from training.system.atomic_write import write_atomically
from training.system.paths import Roots
from training.system.private_folder import make_private_folder


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def roots(tmp_path):
    """Roots of this user, with a folder of plans."""
    found = Roots(
        results_root=tmp_path / "r", scene_data_root=tmp_path, state_root=tmp_path / "state"
    )
    (found.state_root / "plans").mkdir(parents=True)
    return found


def test_a_private_folder_is_private_whatever_the_umask(tmp_path):
    """And one that an earlier version has left open is closed."""
    before = os.umask(0)
    try:
        assert mode(make_private_folder(tmp_path / "a" / "new")) == 0o700
        (tmp_path / "old").mkdir(mode=0o777)
        assert mode(make_private_folder(tmp_path / "old")) == 0o700
    finally:
        os.umask(before)


def test_a_planted_folder_is_not_taken_for_ours(tmp_path, monkeypatch):
    """Of another user, a link, or no folder: its maker could exchange the keys inside."""
    (tmp_path / "theirs").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    (tmp_path / "file").touch()
    for name in ("link", "file"):
        with pytest.raises(PermissionError, match=name):
            make_private_folder(tmp_path / name)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(PermissionError, match="theirs"):
        make_private_folder(tmp_path / "theirs")


def test_a_private_file_is_private_from_its_first_byte(tmp_path, monkeypatch):
    modes = []
    flush = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (modes.append(os.fstat(fd).st_mode), flush(fd)))
    write_atomically(tmp_path / "plan.json", "{}", private=True)
    assert [stat.S_IMODE(each) for each in modes] == [0o600]
    assert mode(tmp_path / "plan.json") == 0o600


@pytest.mark.parametrize("name", ["", "plans"])
def test_a_state_root_that_everybody_can_write_is_refused(roots, name):
    """Whoever can exchange a plan decides what our jobs start."""
    assert folder_faults(roots) == []
    folder = roots.state_root / name
    folder.chmod(0o777)
    (fault,) = folder_faults(roots)
    assert f"chmod o-w {folder}" in fault.remedy
    folder.chmod(0o775)  # a group that works together
    assert folder_faults(roots) == []


def test_a_state_root_as_tmp_is_ours_as_far_as_we_made_it(roots):
    """Others can't touch our files beside theirs; inside an open folder of it they can."""
    roots.state_root.chmod(0o1777)
    assert folder_faults(roots) == []
    (roots.state_root / "plans").chmod(0o1777)
    assert len(folder_faults(roots)) == 1


def test_a_disk_without_permissions_is_no_fault(roots, monkeypatch):
    """Some mounts show the same bits for everything, and chmod does nothing there."""
    roots.state_root.chmod(0o777)
    monkeypatch.setattr("training.plan.checks._keeps_permissions", lambda _: False)
    assert folder_faults(roots) == []
