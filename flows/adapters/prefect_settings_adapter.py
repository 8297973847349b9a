"""Prefect's settings, read again by a process that has changed its own variables.

Apart from `prefect_adapter`, because importing that one has Prefect configure its logging by the
settings of that moment. The name here has a test in `tests/contracts/test_prefect.py`.
"""

from __future__ import annotations

from prefect.context import refresh_global_settings_context
from prefect.settings import PREFECT_UI_URL, Settings, get_current_settings


def read_settings_again() -> Settings:
    """Read all sources of Prefect's settings once more, for the whole process; return the result.

    They are kept from then on: secrets may be removed from the environment. Raises what the parsers
    raise: ValueError, and warnings that are errors.
    """
    refresh_global_settings_context()
    return get_current_settings()


def settings_in_use() -> Settings:
    """Return the settings that hold in this context, as they were read."""
    return get_current_settings()


def ui_address() -> str:
    """Return where the UI of the server is that the settings name; Prefect Cloud has two hosts."""
    return str(PREFECT_UI_URL.value() or "")
