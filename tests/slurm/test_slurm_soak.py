"""The short form of `python -m tests.faults.soak`: a few scenes under a fault each second."""

from __future__ import annotations

import pytest

from tests.faults.soak.run import Size, soak

SHORT = Size(scenes=8, seconds=0.5, at_once=4, every_s=1.0, seed=14, most_runs=6)


@pytest.mark.parametrize("way", [pytest.param("flow", marks=pytest.mark.long), "array"])
def test_nothing_is_lost_doubled_or_left(slurm_lab, slurm, way):
    """Whatever was killed, frozen, cancelled or requeued, the same command finishes every scene."""
    figures = soak(way, slurm_lab, slurm, SHORT)
    assert not figures["complaints"], figures
    assert not figures["problems"], figures
