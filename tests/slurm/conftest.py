"""Tests on a real Slurm: a private cluster for each pytest process that needs one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from private_slurm import Cluster, clear, default_folder, down, missing, up

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("slurm")


def private_cluster(name: str, *, accounting: bool) -> Iterator[Cluster]:
    """A cluster of this process; the next one ends it if this one is killed."""
    if lacks := missing(accounting=accounting):
        (pytest.fail if os.environ.get("CI") else pytest.skip)(lacks)
    folder = default_folder(f"{name}-{os.getpid()}")
    yield up(folder, accounting=accounting, owned=True)
    down(folder)


@pytest.fixture(scope="session")
def slurm() -> Iterator[Cluster]:
    """A Slurm of this pytest process, with job completion text and no accounting."""
    yield from private_cluster("test", accounting=False)


@pytest.fixture(scope="session")
def slurm_accounting() -> Iterator[Cluster]:
    """Another one, with slurmdbd behind it, for what needs sacct; takes seconds to start."""
    yield from private_cluster("sacct", accounting=True)


@pytest.fixture
def slurm_lab(lab: Any, slurm: Cluster) -> Iterator[Any]:
    """The lab on `slurm`: after the test no job and no process of it may be left."""
    yield from lab_on(lab, slurm)


@pytest.fixture(scope="module")
def slurm_module_lab(module_lab: Any, slurm: Cluster) -> Iterator[Any]:
    """The same, for all tests of a module."""
    yield from lab_on(module_lab, slurm)


@pytest.fixture
def array_lab(slurm_lab: Any, slurm: Cluster) -> Any:
    """A lab on Slurm with three scenes, to submit as arrays."""
    for number in range(3):
        slurm_lab.add_scene(f"a_{number}")
    slurm_lab.slurm = slurm
    return slurm_lab


@pytest.fixture
def slurm_accounting_lab(lab: Any, slurm_accounting: Cluster) -> Iterator[Any]:
    """The lab on `slurm_accounting`."""
    yield from lab_on(lab, slurm_accounting)


def lab_on(lab: Any, cluster: Cluster) -> Iterator[Any]:
    lab.environment |= cluster.environment
    yield lab
    left = clear(lab, cluster)
    assert not left, f"left behind: {left}"


@pytest.fixture
def flow_lab(slurm_lab: Any, slurm: Cluster, prefect_api: Any) -> Any:
    """A lab on Slurm whose flows report to a server that runs already."""
    slurm_lab.slurm = slurm
    slurm_lab.environment |= {"PREFECT_API_URL": prefect_api.url, "PREFECT_API_KEY": "hush-hush"}
    return slurm_lab


@pytest.fixture(scope="module")
def make_commands_lab(make_lab: Any, slurm_accounting: Any) -> Iterator[Callable[[], Any]]:
    """Make labs on a Slurm with accounting."""

    def make() -> Any:
        lab = make_lab()
        labs.append(lab)
        lab.environment |= slurm_accounting.environment
        return lab

    labs: list[Any] = []
    yield make
    for lab in labs:
        assert not clear(lab, slurm_accounting)
