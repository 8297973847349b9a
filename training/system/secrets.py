"""Variables with secrets that trainers and jobs have no use for, and are not given."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

PREFECT_SECRETS = (
    "PREFECT_API_AUTH_STRING",
    "PREFECT_API_KEY",
    "PREFECT_CLIENT_CUSTOM_HEADERS",
    "PREFECT_SERVER_API_AUTH_STRING",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL",
    "PREFECT_SERVER_DATABASE_PASSWORD",
)
"""Settings that hold passwords; a test compares them with what Prefect itself calls secret."""
NOTIFY_URL = "TS_NOTIFY_URL"
"""The address that a flow sends its result to."""


def remove_secrets(environ: MutableMapping[str, str] = os.environ) -> None:
    """Take Prefect's secrets out of the environment that workers, trainers and jobs inherit.

    In a flow call it once Prefect has read its settings.
    """
    for name in PREFECT_SECRETS:
        environ.pop(name, None)
