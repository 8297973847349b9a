"""Keep copies of sources below the state root: write, repair, and remove those nobody needs.

A copy is written whole under another name and renamed, so that launches at the same time meet
either none or a whole one. Its files are read-only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Collection
from pathlib import Path

from preprocess.faults import Fault, FaultsError
from training.snapshots.manifest import LINK, Manifest, read_manifest
from training.snapshots.sources import Reading
from training.system.atomic_write import write_atomically

OLD_AFTER_S = 24 * 3600.0
READ_ONLY = 0o555
"""Of a file's own permissions these are kept: what others could not read they can't read here."""
CACHES = "__pycache__"


def keep(reading: Reading) -> None:
    """Write the manifest and, where one is wanted, the copy of the sources; raises FaultsError.

    A copy that is there is compared with its manifest, and repaired.
    """
    sources = reading.sources
    try:
        with contextlib.suppress(FileNotFoundError):  # before all else: now nobody removes it
            os.utime(sources.copy_folder)
        _keep_manifest(sources.manifest_file, reading.manifest)
        if sources.is_kept:
            if not sources.copy_folder.is_dir():
                _write_copy(sources.copy_folder, reading)
            _repair(sources.copy_folder, reading)
            _link(sources.copy_folder, reading)
    except OSError as error:
        remedy = "see to the state root's folder, or run without a copy: --no-snapshot"
        place = error.filename or sources.manifest_file.parent  # os.utime names none
        value = f"{place}: {error.strerror or error}"
        raise FaultsError([Fault("the sources can't be kept", value, remedy)]) from error


def _keep_manifest(file: Path, manifest: Manifest) -> None:
    try:
        read_manifest(file)
        os.utime(file)
    except (OSError, ValueError):
        write_atomically(file, manifest.model_dump_json())


def _write_copy(folder: Path, reading: Reading) -> None:
    """Write the copy under another name and rename it; another launch may be quicker."""
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    try:
        for name in reading.manifest.files:
            _write(temporary / name, name, reading)
        with contextlib.suppress(OSError):
            temporary.rename(folder)
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} can't be made")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(path: Path, name: str, reading: Reading) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    known = reading.manifest.files[name]
    if known.startswith(LINK):
        path.symlink_to(known.removeprefix(LINK))
        return
    content, mode = reading.contents[name]
    path.write_bytes(content)
    path.chmod(mode & READ_ONLY | 0o400)


def _repair(folder: Path, reading: Reading) -> None:
    """Replace what is not as in the manifest, each file at once: trainers may be starting."""
    for name in reading.manifest.changed(folder, outside=False):
        path = folder / name
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        if path.is_dir() and not path.is_symlink():
            raise IsADirectoryError(f"{path} is a folder: remove it")
        _write(temporary, name, reading)
        temporary.replace(path)


def _link(folder: Path, reading: Reading) -> None:
    """Link what lies beside the sources (data, builds): a script may look for it next to itself."""
    for name in reading.beside:
        path = folder / name
        if path.parent.is_dir() and not os.path.lexists(path):
            with contextlib.suppress(FileExistsError):
                path.symlink_to(reading.manifest.root / name)


def remove_unneeded(folder: Path, needed: Callable[[], Collection[str]]) -> None:
    """Remove the snapshots in `folder` that are older than a day and not among the needed digests.

    A copy in which somebody has written files stays, and what can't be removed, too. All stay where
    `needed` raises OSError.
    """
    old = {path.stem.lstrip(".") for path in _entries(folder) if _age_s(path) > OLD_AFTER_S}
    if not old:
        return
    try:
        unneeded = old - set(needed())
    except OSError:  # another user's plan may need any of them
        return
    for digest in unneeded:
        with contextlib.suppress(OSError, ValueError):
            _remove(folder, digest)
    for path in folder.glob(".*"):  # left by a launch that was killed
        if _age_s(path) > OLD_AFTER_S:
            shutil.rmtree(path, ignore_errors=True)


def _entries(folder: Path) -> list[Path]:
    return list(folder.glob("*")) if folder.is_dir() else []


def _remove(folder: Path, digest: str) -> None:
    copy, file = folder / digest, folder / f"{digest}.json"
    if any(_age_s(path) <= OLD_AFTER_S for path in (copy, file)):
        return
    if copy.is_dir():
        if _is_used(copy, read_manifest(file)):
            return
        away = copy.with_name(f".{digest}.{uuid.uuid4().hex[:8]}")
        copy.rename(away)
        if _age_s(away) <= OLD_AFTER_S:  # a launch has just chosen it
            away.rename(copy)
            return
        shutil.rmtree(away, ignore_errors=True)
    file.unlink(missing_ok=True)


def _is_used(copy: Path, manifest: Manifest) -> bool:
    """Return whether a copy has files that are neither sources, nor links, nor Python's caches."""
    for path, folders, names in os.walk(copy):
        folders[:] = [name for name in folders if name != CACHES]
        own = os.path.relpath(path, copy)
        for name in names:
            known = os.path.normpath(f"{own}/{name}") in manifest.files
            if not known and not Path(path, name).is_symlink():
                return True
    return False


def _age_s(path: Path) -> float:
    """Return the seconds since a path was last chosen; endless where it is not there."""
    try:
        return time.time() - path.lstat().st_mtime
    except OSError:
        return float("inf")
