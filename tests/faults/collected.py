"""The cells of the whole suite, without running a test."""

from __future__ import annotations

import pytest

from tests.faults.cells import CELLS, Cell


class _Collected:
    """A pytest plugin that keeps the cells that the tests' conftest has found."""

    cells: tuple[Cell, ...] = ()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Take the cells of all tests."""
        self.cells = tuple(session.config.stash[CELLS])


def collected_cells() -> list[Cell]:
    """Return the cells of all tests; raises ValueError where they can't be collected."""
    plugin = _Collected()
    status = pytest.main(["--collect-only", "-qq", "-m", "fault", "-n0"], plugins=[plugin])
    if status:
        raise ValueError(f"the tests can't be collected: pytest's exit status {int(status)}")
    return list(plugin.cells)
