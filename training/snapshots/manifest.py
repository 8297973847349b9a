"""What a plan's sources are: their files by content, and where the copy of them lies."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

SNAPSHOTS = "snapshots"
LINK = "-> "
"""Begins the entry of a symbolic link in a manifest; its target follows."""
MISSING = "missing"
MOST_NAMED = 5

_hashes: dict[str, tuple[tuple[int, ...], str]] = {}
"""Hashes of files by path, each with the file's state when it was read: a process that starts many
scenes reads no file twice that has not changed."""


class Sources(BaseModel):
    """The sources of a plan's trainer as they were when the plan was made."""

    model_config = ConfigDict(frozen=True)

    root: Path
    """The folder that they lie in: the checkout, a Git repository, or the script's folder."""
    folder: Path
    """The state root's folder of snapshots."""
    digest: str = ""
    """Of `root` and of the content of every file; empty in a dry run."""
    is_kept: bool = True
    """Whether attempts run from a copy; else they are refused once the sources have changed."""

    @property
    def copy_folder(self) -> Path:
        """Where the copy lies, with the same folders as in `root`."""
        return self.folder / self.digest

    @property
    def manifest_file(self) -> Path:
        """Where the manifest lies: beside the copy."""
        return self.folder / f"{self.digest}.json"


class Manifest(BaseModel):
    """The content of the sources, file by file."""

    model_config = ConfigDict(frozen=True)

    root: Path
    files: dict[str, str]
    """SHA-256 by name below `root`; of a symbolic link that leads to no file `LINK`, target."""
    outside: dict[str, str] = {}
    """SHA-256 by absolute path of configuration that lies elsewhere: it is compared, not copied."""

    @property
    def digest(self) -> str:
        """Short hash of all of it."""
        text = json.dumps([str(self.root), self.files, self.outside], sort_keys=True)
        return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:32]

    def changed(self, folder: Path, *, outside: bool = True) -> list[str]:
        """Return the names of the files that differ in `folder`, and of those `outside` it."""
        path = str(folder)
        found = [name for name, known in self.files.items() if entry(f"{path}/{name}") != known]
        if outside:
            found += [name for name, known in self.outside.items() if entry(name) != known]
        return found


@lru_cache(maxsize=8)
def read_manifest(file: Path) -> Manifest:
    """Return the manifest in a file; raises OSError, ValueError for one that is not whole.

    The file's name is the digest of its content, so what was read once stays true.
    """
    manifest = Manifest.model_validate_json(file.read_bytes())
    if manifest.digest != file.stem:
        raise ValueError(f"{file} does not have the content that its name says")
    return manifest


def entry(path: str) -> str:
    """Return what a manifest says of a file: hash or link; MISSING where there is none to read."""
    try:
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode):
            if not os.path.isfile(path):  # noqa: PTH113 - of text, for speed
                return LINK + os.readlink(path)  # noqa: PTH115
            found = os.stat(path)  # noqa: PTH116
        return _content_hash(path, found)
    except OSError:
        return MISSING


def _content_hash(path: str, found: os.stat_result) -> str:
    state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    known = _hashes.get(path)
    if known is None or known[0] != state:
        with open(path, "rb") as stream:  # noqa: PTH123
            known = state, hashlib.file_digest(stream, "sha256").hexdigest()
        _hashes[path] = known
    return known[1]


def hashed(content: bytes) -> str:
    """Return the SHA-256 of a file's content, as in a manifest."""
    return hashlib.sha256(content).hexdigest()


def listed(names: Iterable[str]) -> str:
    """Return the first few names in a line, with the number of the others."""
    all_names = list(names)
    more = len(all_names) - MOST_NAMED
    return ", ".join(all_names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def has_folder(files: Mapping[str, str], folder: str) -> bool:
    """Return whether any of these files lies below a folder; `.` is the root itself."""
    return folder == "." or any(name.startswith(f"{folder}/") for name in files)
