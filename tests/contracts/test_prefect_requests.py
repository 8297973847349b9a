"""What `flows/adapters/prefect_adapter.py` asks of Prefect's API: artifacts, logs, blocks.

No server is needed here.
"""

from __future__ import annotations

import inspect
import json
from datetime import UTC, datetime
from functools import partial
from uuid import UUID, uuid4

import httpx
import pytest
from contract import accepts, contract

ADAPTER = "flows/adapters/prefect_adapter.py"
KNOWN = UUID("00000000-0000-0000-0000-00000000a411")
prefect_contract = partial(contract, "prefect")


@pytest.fixture
def requests():
    """What a client has sent."""
    return []


@pytest.fixture
def client(requests):
    """A client of a server that knows one artifact."""
    from prefect.client.orchestration import SyncPrefectClient

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        known = str(KNOWN) in request.url.path
        return httpx.Response(204 if known else 404, json=None if known else {"detail": "unknown"})

    transport = httpx.MockTransport(answer)
    with SyncPrefectClient("http://server/api", httpx_settings={"transport": transport}) as made:
        yield made


def test_artifacts_can_be_patched_by_a_request_of_the_client(client, requests):
    """prefect.client.orchestration.SyncPrefectClient.request."""
    with prefect_contract(
        "SyncPrefectClient.request",
        f"{ADAPTER} replace_artifact_data",
        "to change an artifact without an event that holds all of it",
    ):
        path = "/artifacts/{id}"
        client.request("PATCH", path, path_params={"id": KNOWN}, json={"data": "new"})
        (sent,) = [each for each in requests if each.method == "PATCH"]
        assert sent.url.path == f"/api/artifacts/{KNOWN}"
        assert json.loads(sent.content) == {"data": "new"}
        with pytest.raises(httpx.HTTPStatusError) as caught:
            client.request("PATCH", path, path_params={"id": uuid4()}, json={"data": "new"})
        assert caught.value.response.status_code == httpx.codes.NOT_FOUND


def test_an_artifact_can_be_made_for_a_flow_run_by_id(client):
    """prefect.client.schemas.actions.ArtifactCreate, SyncPrefectClient.create_artifact."""
    with prefect_contract(
        "ArtifactCreate", f"{ADAPTER} create_artifact", "to publish the page from its own thread"
    ):
        from prefect.client.schemas.actions import ArtifactCreate

        artifact = ArtifactCreate(
            key="a", type="markdown", description="b", data="c", flow_run_id=uuid4()
        )
        assert accepts(client.create_artifact, artifact)


@pytest.mark.parametrize("lines", [[], [{"name": "a", "level": 20, "message": "b"}]])
def test_the_log_of_a_run_can_be_asked_for_without_the_run(lines):
    """prefect.client.schemas.filters.LogFilter, SyncPrefectClient.read_logs, the table of logs."""
    with prefect_contract(
        "LogFilter, read_logs",
        f"{ADAPTER} has_log",
        "to tell a deleted run from a lost database",
    ):
        from prefect.client.orchestration import SyncPrefectClient
        from prefect.server.api.flows import delete_flow
        from prefect.server.database.orm_models import Log
        from prefect.server.schemas.filters import LogFilter

        from flows.adapters.prefect_adapter import has_log

        def answer(request: httpx.Request) -> httpx.Response:
            if request.method == "GET":  # the client asks for the server's version
                return httpx.Response(404, json={})
            asked = LogFilter.model_validate(json.loads(request.content)["logs"])
            assert asked.flow_run_id.any_ == [KNOWN]
            assert asked.timestamp.before_ == until
            return httpx.Response(200, json=[{**each, "timestamp": str(until)} for each in lines])

        until = datetime.now(UTC)
        given = {"transport": httpx.MockTransport(answer)}
        with SyncPrefectClient("http://server/api", httpx_settings=given) as client:
            assert has_log(client, KNOWN, until) == bool(lines)
        # A flow's runs go with it by a foreign key, which logs don't have.
        assert not Log.__table__.c.flow_run_id.foreign_keys
        assert "log" not in inspect.getsource(delete_flow)


def test_types_of_notification_blocks_are_known_once_their_module_is_imported():
    """prefect.blocks.notifications, prefect.blocks.core.Block.load and UnknownBlockType."""
    with prefect_contract(
        "prefect.blocks", f"{ADAPTER} load_notification_block", "to notify by a block"
    ):
        import prefect.blocks.notifications  # noqa: F401
        from prefect.blocks.core import Block, UnknownBlockType
        from prefect.utilities.dispatch import lookup_type

        assert hasattr(lookup_type(Block, "slack-webhook"), "notify")
        assert issubclass(UnknownBlockType, Exception)
        assert accepts(Block.load, "slack-webhook/lab")
