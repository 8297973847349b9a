"""What keeps result and state roots from being used, found before anything is created."""

from __future__ import annotations

import errno
import os

import pytest

from training.plan.checks import folder_faults
from training.system.paths import Roots


@pytest.fixture
def roots(tmp_path):
    """Return roots that do not exist yet."""
    folders = ("results_root", "scene_data_root", "state_root")
    return Roots(**{name: tmp_path / "lab" / name for name in folders})


def test_folders_that_can_be_used_have_no_fault_and_are_not_made(roots, tmp_path):
    """Nothing is left of the try to make a hard link."""
    assert not folder_faults(roots)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES])
def test_a_disk_without_hard_links_is_named_with_the_remedy(roots, tmp_path, monkeypatch, number):
    """As FUSE and SMB mounts may be: claims of scenes could not be taken there."""

    def link(_source, _target):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)
    (fault,) = folder_faults(roots)
    assert "without hard links" in fault.what
    assert fault.value == f"{tmp_path}: {os.strerror(number)}"
    assert "--results-root" in fault.remedy
    assert not list(tmp_path.iterdir())
