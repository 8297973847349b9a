"""Prefect's settings: those that we name exist, and `prefect_settings_adapter.py` reads them."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest
from contract import contract

ADAPTER = "flows/adapters/prefect_settings_adapter.py"
prefect_contract = partial(contract, "prefect")


def test_settings_are_kept_when_their_variables_are_gone(monkeypatch):
    """prefect.context.refresh_global_settings_context, prefect.settings.get_current_settings."""
    with prefect_contract(
        "refresh_global_settings_context",
        f"{ADAPTER} read_settings_again",
        "to keep a password from trainers without losing it",
    ):
        from prefect.context import refresh_global_settings_context
        from prefect.settings import get_current_settings

        try:
            monkeypatch.setenv("PREFECT_API_AUTH_STRING", "admin:secret")
            refresh_global_settings_context()
            monkeypatch.delenv("PREFECT_API_AUTH_STRING")
            kept = get_current_settings().api.auth_string.get_secret_value()
        finally:
            monkeypatch.undo()
            refresh_global_settings_context()
        assert kept == "admin:secret"


def variables_of_ours() -> list[str]:
    """The settings of Prefect's that our source code names; PREFECT__ begins no setting."""
    checkout = Path(__file__).resolve().parents[2]
    sources = [*checkout.glob("flows/**/*.py"), *checkout.glob("deployments/**/*.py")]
    named = re.compile(r'"(PREFECT_(?!_)[A-Z0-9_]+)"')
    return sorted({name for each in sources for name in named.findall(each.read_text("utf-8"))})


NOT_SETTINGS = {
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL",  # replaces a value of logging.yml
    "PREFECT_PROFILE",  # says which profile to read
}
VALUES = ("true", "false", "61", "http://server/api", "INFO", '{"a": "b"}', "events", "/tmp/file")


@pytest.mark.parametrize("name", sorted(set(variables_of_ours()) - NOT_SETTINGS))
def test_prefect_knows_each_variable_that_we_set_or_read(name, monkeypatch):
    """Prefect ignores an unknown variable silently."""
    with prefect_contract(f"the setting {name}", "flows/server, deployments", "to have an effect"):
        monkeypatch.delenv(name, raising=False)
        without = settings()
        assert any(settings_with(name, value, monkeypatch) not in ({}, without) for value in VALUES)


def settings() -> dict[str, str]:
    """All settings; none where a value is not valid."""
    from prefect.settings import Settings

    try:
        return Settings().to_environment_variables(include_secrets=True)
    except ValueError:
        return {}


def settings_with(name: str, value: str, monkeypatch) -> dict[str, str]:
    monkeypatch.setenv(name, value)
    return settings()


def test_a_variable_sets_the_level_of_the_terminals_handler(monkeypatch):
    """prefect.logging.configuration.load_logging_config."""
    with prefect_contract(
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "flows/server/managed.py", "to be quiet"
    ):
        import prefect.logging
        from prefect.logging.configuration import load_logging_config

        monkeypatch.setenv("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
        config = load_logging_config(Path(prefect.logging.__file__).with_name("logging.yml"))
        assert config["handlers"]["console"]["level"] == "CRITICAL"
