"""Requests to the Prefect API that the user names, without Prefect's seconds of imports."""

from __future__ import annotations

import os
from collections.abc import Mapping

import httpx

from flows.named_api import CLIENT_PASSWORD, check_password, check_reachable, named_api, setting
from preprocess.faults import Fault, FaultsError

ANSWER_S = 30.0


def api_client(environ: Mapping[str, str] = os.environ) -> httpx.Client:
    """A client of the user's API; raises FaultsError when there is none, or not for him."""
    url = named_api(environ)
    if not url:
        remedy = "export PREFECT_API_URL=http://HOST:PORT/api, or run python -m deployments.serve"
        raise FaultsError([Fault("no Prefect server is named", remedy=remedy)])
    check_reachable(url)
    check_password(url, environ)
    user, _, password = setting(CLIENT_PASSWORD, environ).partition(":")
    key = setting("PREFECT_API_KEY", environ)
    return httpx.Client(
        base_url=url,
        auth=(user, password) if user else None,
        headers={"Authorization": f"Bearer {key}"} if key else {},
        timeout=ANSWER_S,
    )
