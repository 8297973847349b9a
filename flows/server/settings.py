"""Read the user's Prefect settings from every place where Prefect reads them.

Importing this is cheap; reading them imports most of Prefect (1.3 s of CPU, of which a flow pays
1.2 s anyway).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from preprocess.faults import Fault, FaultsError, why_unreadable
from training.system.importing import without_collecting

API_URL = "PREFECT_API_URL"
CLIENT_PASSWORD = "PREFECT_API_AUTH_STRING"  # noqa: S105  # the variable's name
CLIENT_KEY = "PREFECT_API_KEY"
CLIENT_HEADERS = "PREFECT_CLIENT_CUSTOM_HEADERS"
CA_FILE = "PREFECT_API_SSL_CERT_FILE"
INSECURE = "PREFECT_API_TLS_INSECURE_SKIP_VERIFY"
SERVER_PASSWORD = "PREFECT_SERVER_API_AUTH_STRING"  # noqa: S105
HOME = "PREFECT_HOME"
PROFILES = "PREFECT_PROFILES_PATH"
DATABASE = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
RUN_DEFAULTS = {
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "60",  # seconds; see deployments.crash_automation
    "PREFECT_API_REQUEST_TIMEOUT": "30",  # tried six times; a server may fall silent for good
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLI_PROMPT": "false",
}
"""For the processes of our flow runs."""

Settings = Mapping[str, str]
"""Prefect's settings by the names of their variables; a setting that nobody made is missing."""


def read_settings() -> dict[str, str]:
    """Return what the user has set: variables, `.env`, `prefect.toml`, `pyproject.toml`, profile.

    Prefect reads them, with its own precedence. It keeps what it read for the rest of the process:
    call this again after a change of `os.environ`. `PREFECT_PROFILES_PATH` is always among them.

    Raises FaultsError when a value is not valid or a file can't be read or parsed.
    """
    forbid_tracking()
    try:
        with warnings.catch_warnings():
            # A home that can't be made is no matter here, a profile that can't be read is.
            warnings.simplefilter("ignore", UserWarning)
            warnings.filterwarnings("error", "Failed to load profiles")
            with without_collecting():
                from flows.adapters.prefect_settings_adapter import read_settings_again

            current = read_settings_again()
    except (ValueError, UserWarning) as error:  # of pydantic, pydantic-settings or tomllib
        remedy = "correct it: a PREFECT_ variable, .env, prefect.toml or profiles.toml"
        fault = Fault("Prefect's settings can't be read", _words(error), remedy)
        raise FaultsError([fault]) from error
    except OSError as error:
        reason, remedy = why_unreadable(error)
        value = f"{error.filename}: {reason}"
        fault = Fault("Prefect's settings can't be read", value, f"{remedy}, or set PREFECT_HOME")
        raise FaultsError([fault]) from error
    found = current.to_environment_variables(exclude_unset=True, include_secrets=True)
    return {
        **found,
        PROFILES: str(Path(current.profiles_path or current.home / "profiles.toml").absolute()),
    }


def settings_in_use() -> dict[str, str]:
    """Return what the user has set, as the process or the flow run goes by it; reads nothing.

    Secrets are in it that have left the environment since.
    """
    from flows.adapters import prefect_settings_adapter

    current = prefect_settings_adapter.settings_in_use()
    return current.to_environment_variables(exclude_unset=True, include_secrets=True)


def forbid_tracking() -> None:
    """Turn off Prefect's usage reports; call this before Prefect is imported."""
    os.environ.setdefault("DO_NOT_TRACK", "1")


def _words(error: Exception) -> str:
    """Say what is wrong without the value, which may be a secret."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())


def set_defaults(
    defaults: Settings, settings: Settings, environ: MutableMapping[str, str] = os.environ
) -> None:
    """Set variables for what the user has not set anywhere."""
    for name, value in defaults.items():
        if name not in settings:
            environ.setdefault(name, value)
