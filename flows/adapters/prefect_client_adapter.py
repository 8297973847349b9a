"""Prefect's HTTP client: giving up a server that stays silent.

Prefect repeats a request six times, each for as long as its timeout, and its engine reports a run's
end by several: a flow would wait many minutes for a server that is gone. Tested by
`tests/contracts/test_prefect_client.py`.
"""

from __future__ import annotations

from typing import Any, NoReturn

import httpx
from prefect import get_client
from prefect.client.base import PrefectHttpxSyncClient
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings


def takes_changes(run: FlowRun, timeout_s: float) -> bool:
    """Return whether the server takes a change, of nothing, within that time; asks once.

    A question would not do: a database may still answer from memory when its file is gone.
    """
    try:
        with (
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
            get_client({"timeout": timeout_s}, sync_client=True) as client,
        ):
            client.update_flow_run(run.id, name=run.name)
    except ObjectNotFound:  # that is an answer
        return True
    except httpx.HTTPStatusError as error:
        return not error.response.is_server_error
    except (httpx.HTTPError, RuntimeError, ValueError):  # the last: not Prefect's words
        return False
    return True


def refuse_requests(why: str) -> None:
    """Let every request of this process to Prefect's API fail at once with that reason."""

    def refuse(_client: Any, request: httpx.Request, *_: Any, **__: Any) -> NoReturn:
        raise httpx.ConnectError(why, request=request)

    PrefectHttpxSyncClient.send = refuse  # type: ignore[method-assign,assignment]
