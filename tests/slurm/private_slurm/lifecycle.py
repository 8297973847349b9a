"""Bringing a private cluster up and taking it down, also after somebody was killed half-way."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

from private_slurm import daemons, layout, processes
from private_slurm.cluster import Cluster
from private_slurm.layout import Layout, Owner

JOBS_END_S = 3
LONGEST = 60


def default_folder(name: str = "default") -> Path:
    """By user and checkout, so that two checkouts have a cluster each; short, for sockets."""
    checkout = hashlib.sha256(os.fsencode(Path(__file__).resolve().parent)).hexdigest()[:8]
    return Path(tempfile.gettempdir()).resolve() / f"slurm-{os.getuid()}-{checkout}" / name


@contextlib.contextmanager
def locked(parent: Path) -> Iterator[None]:
    """One at a time may bring up or take down a cluster in this folder."""
    while (handle := lock(parent)) is None:
        pass
    try:
        yield
    finally:
        os.close(handle)


def lock(parent: Path) -> int | None:
    """The locked folder; None if the last cluster's end removed it meanwhile."""
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        handle = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    fcntl.flock(handle, fcntl.LOCK_EX)
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(handle), parent.stat()):
            return handle
    os.close(handle)
    return None


def up(folder: Path, *, accounting: bool = False, owned: bool = False) -> Cluster:
    """The cluster of this folder, ready for jobs; what already runs of it is left as it is.

    Owned: it belongs to this process, and once that is gone the next call here ends it.
    Raises SetupError if a part does not start, if the folder's path can not be used, or if the
    cluster runs without accounting that is now asked for.
    """
    check(folder)
    with locked(folder.parent):
        end_ownerless(folder.parent)
        kept = layout.load(folder)
        if kept and accounting and not kept.accounting:
            raise daemons.SetupError(
                f"the private Slurm in {folder} runs without accounting: take it down first"
            )
        owner = Owner.this_process() if owned else None
        made = kept or layout.new(folder, accounting=accounting, owner=owner)
        made.save()
        try:
            return start(made)
        except BaseException:
            if not kept:
                remove(made)
            raise


def check(folder: Path) -> None:
    """Raises SetupError for a path that is not ours, or that Slurm can't use.

    A socket's path has 107 characters at most, and the longest of Slurm's adds 46 to the folder.
    """
    if len(str(folder)) > LONGEST or any(letter.isspace() for letter in str(folder)):
        raise daemons.SetupError(
            f"a private Slurm can not live in {folder}: the path has spaces or more than "
            f"{LONGEST} characters; set TMPDIR to another folder"
        )
    if folder.parent.exists() and folder.parent.stat().st_uid != os.getuid():
        raise daemons.SetupError(
            f"a private Slurm can not live in {folder}: {folder.parent} belongs to another user"
        )


def start(made: Layout) -> Cluster:
    """Starts what of the cluster does not run."""
    daemons.write_files(made)
    daemons.start_munge(made)
    cluster = Cluster(made)
    if made.accounting:
        daemons.start_accounting(made)
        cluster.register()
    daemons.start_controller(made)
    for name in made.nodes:
        daemons.start_node(made, name)
    daemons.wait_for(made, "slurmctld", cluster.is_ready)
    return cluster


def down(folder: Path) -> bool:
    """Ends the cluster of this folder with all that its jobs run, and removes the folder.

    Returns whether there was one.
    """
    with locked(folder.parent):
        end_ownerless(folder.parent)
        kept = layout.load(folder)
        if kept:
            remove(kept)
        with contextlib.suppress(OSError):  # others may have theirs there
            folder.parent.rmdir()
    return bool(kept)


def end_ownerless(parent: Path) -> None:
    """Ends the clusters there whose owner is gone without taking them down."""
    for settings in parent.glob(f"*/{layout.SETTINGS}"):
        found = layout.load(settings.parent)
        if found and found.owner and not found.owner.is_alive():
            remove(found)


def remove(made: Layout) -> None:
    """Nobody is asked: this also ends a cluster that never got ready.

    First what could start more, then the jobs, who get a moment to end well, then the rest.
    """
    starters = ("slurmctld", "slurmd")
    processes.end(lambda: processes.daemons(made, *starters), signal.SIGKILL, JOBS_END_S)
    processes.end(lambda: processes.of_jobs(made.nodes), signal.SIGTERM, JOBS_END_S)
    processes.end(
        lambda: processes.of_jobs(made.nodes) + processes.daemons(made), signal.SIGKILL, JOBS_END_S
    )
    for folder in processes.cgroups(made.nodes):
        with contextlib.suppress(OSError):
            folder.rmdir()
    shutil.rmtree(made.folder)
