"""A client of the Prefect server that the user names."""

from __future__ import annotations

from flows.server.external_api import ApiClient, api_client, check_credentials, check_reachable
from flows.server.settings import API_URL, Settings
from preprocess.faults import Fault, FaultsError
from training.system.typed_command import spelled


def connect(settings: Settings) -> ApiClient:
    """Return a client of the user's server.

    Raises FaultsError when none is named, it does not answer, or it refuses the user.
    """
    url = settings.get(API_URL)
    if not url:
        remedy = f"export {API_URL}=http://HOST:PORT/api, or run {spelled('ui')}"
        raise FaultsError([Fault("no Prefect server is named", remedy=remedy)])
    check_reachable(url, settings)
    check_credentials(url, settings)
    return api_client(url, settings)
