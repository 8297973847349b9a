"""Requests to the Prefect API that the user names, without Prefect's seconds of imports."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import httpx

from flows.server.external_api import (
    CLIENT_KEY,
    CLIENT_PASSWORD,
    check_password,
    check_reachable,
    named_api,
    setting,
    trusted,
)
from preprocess.faults import Fault, FaultsError

ANSWER_S = 90.0
"""Prefect's SQLite waits a minute for its lock, and whoever asks its server with it."""
BUSY_S = 60.0
ASK_AGAIN_S = 0.5


class PatientClient(httpx.Client):
    """Asks again, at most a minute, while the server says that it is busy.

    Prefect answers 503 when SQLite's lock was not to be had; then it has changed nothing.
    """

    def send(self, request: httpx.Request, **settings: Any) -> httpx.Response:
        """The first answer that is not 503, or the last one."""
        deadline = time.monotonic() + BUSY_S
        while True:
            response = super().send(request, **settings)
            is_busy = response.status_code == httpx.codes.SERVICE_UNAVAILABLE
            if not is_busy or time.monotonic() > deadline:
                return response
            time.sleep(ASK_AGAIN_S)


def api_client(environ: Mapping[str, str] = os.environ) -> httpx.Client:
    """A client of the user's API; raises FaultsError when there is none, or not for him."""
    url = named_api(environ)
    if not url:
        remedy = "export PREFECT_API_URL=http://HOST:PORT/api, or run python -m deployments.serve"
        raise FaultsError([Fault("no Prefect server is named", remedy=remedy)])
    check_reachable(url, environ)
    check_password(url, environ)
    user, _, password = setting(CLIENT_PASSWORD, environ).partition(":")
    key = setting(CLIENT_KEY, environ)
    return PatientClient(
        base_url=url,
        auth=(user, password) if user else None,
        headers={"Authorization": f"Bearer {key}"} if key else {},
        timeout=ANSWER_S,
        verify=trusted(environ),
    )
