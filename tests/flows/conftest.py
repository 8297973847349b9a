"""A real Prefect server for tests that run flows in this process."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def prefect_server():
    """One server, with a database of its own, for all tests that ask for it."""
    from prefect.client.orchestration import get_client
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield get_client(sync_client=True)
