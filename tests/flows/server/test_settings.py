"""Prefect's settings count wherever the user has made them, as for every other Prefect program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr

from flows.server.settings import read_settings, set_defaults
from preprocess.faults import FaultsError
from training.system.secrets import PREFECT_SECRETS as SECRETS
from training.system.secrets import remove_secrets

ROOT = Path(__file__).resolve().parents[3]
PROFILE = 'active = "lab"\n[profiles.lab]\n{}\n'


@pytest.fixture
def folder(environ, tmp_path, monkeypatch):
    """The user's current folder; his PREFECT_HOME is another one."""
    del environ["PREFECT_PROFILES_PATH"]
    environ["PREFECT_HOME"] = str(tmp_path / "home")
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def test_what_nobody_has_set_is_missing(folder):
    """So that a default of ours can take its place."""
    settings = read_settings()
    assert "PREFECT_API_URL" not in settings
    assert settings["PREFECT_PROFILES_PATH"] == str(folder.parent / "home" / "profiles.toml")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("../home/profiles.toml", PROFILE.format('PREFECT_API_URL = "http://lab/api"')),
        ("prefect.toml", '[api]\nurl = "http://lab/api"\n'),
        ("pyproject.toml", '[tool.prefect.api]\nurl = "http://lab/api"\n'),
        (".env", "PREFECT_API_URL=http://lab/api\n"),
    ],
)
def test_each_of_prefects_files_counts_and_a_variable_comes_first(folder, environ, file, text):
    """The active profile, prefect.toml, pyproject.toml and .env."""
    (folder / file).write_text(text)
    assert read_settings()["PREFECT_API_URL"] == "http://lab/api"
    environ["PREFECT_API_URL"] = "http://mine/api"
    assert read_settings()["PREFECT_API_URL"] == "http://mine/api"


def test_another_profile_can_be_named_by_its_variable(folder, environ):
    """PREFECT_PROFILE, as everywhere."""
    profiles = PROFILE.format('PREFECT_API_URL = "http://lab/api"') + "[profiles.other]\n"
    (folder / "../home/profiles.toml").write_text(profiles)
    environ["PREFECT_PROFILE"] = "other"
    assert "PREFECT_API_URL" not in read_settings()


def test_a_value_that_is_not_valid_is_a_fault_that_does_not_show_it(environ):
    """It may be a secret."""
    environ["PREFECT_API_REQUEST_TIMEOUT"] = "hush"
    with pytest.raises(FaultsError, match="request_timeout: Input should be a valid") as caught:
        read_settings()
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("file", ["prefect.toml", "../home/profiles.toml"])
def test_a_file_that_is_no_toml_is_a_fault(folder, file):
    """Prefect alone ends with a traceback, or leaves the file out."""
    (folder / file).write_text("[profiles")
    with pytest.raises(FaultsError, match="Prefect's settings can't be read"):
        read_settings()


def test_a_default_of_ours_gives_way_to_what_the_user_has_set(environ):
    """Whether that is a variable or in a file."""
    environ |= {"PREFECT_A": "variable"}
    wanted = {"PREFECT_A": "ours", "PREFECT_B": "ours", "PREFECT_C": "ours"}
    set_defaults(wanted, {"PREFECT_B": "file"}, environ)
    assert environ["PREFECT_A"] == "variable"
    assert "PREFECT_B" not in environ
    assert environ["PREFECT_C"] == "ours"


def test_secrets_are_removed_and_nothing_else():
    """Trainers and jobs need neither the server nor its secrets."""
    environ = {**dict.fromkeys(SECRETS, "x"), "HOME": "/root", "PREFECT_HOME": "/home"}
    remove_secrets(environ)
    assert environ == {"HOME": "/root", "PREFECT_HOME": "/home"}


def test_all_that_prefect_calls_secret_is_removed():
    """A newer Prefect may know more secrets than this one."""
    from prefect.settings import Settings

    def secrets(model: type[BaseModel], prefix: str):
        for name, info in model.model_fields.items():
            kind = info.annotation
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from secrets(kind, f"{prefix}_{name}")
            elif SecretStr.__name__ in str(kind):
                yield f"{prefix}_{name}".upper()

    assert set(secrets(Settings, "PREFECT")) <= set(SECRETS)


def test_a_flow_reports_nobody_and_prefects_defaults_for_retries_and_results_change_nothing(
    folder, environ
):
    """DO_NOT_TRACK is read while Prefect is imported: it is set before.

    A failed flow would wait for a retry instead of saying so, and its state would be stored.
    """
    program = (
        "from flows.server.settings import read_settings\n"
        "read_settings()\n"
        "from prefect._internal.analytics import is_telemetry_enabled\n"
        "print(is_telemetry_enabled())\n"
        "from flows.flow import difix_data, train_scenes\n"
        "from flows.plan_tasks import aggregate, train_scene\n"
        "for each in (train_scenes, difix_data, train_scene, aggregate):\n"
        "    again = getattr(each, 'refresh_cache', False)\n"
        "    print(each.retries, each.retry_delay_seconds, each.persist_result, again)\n"
        "for each in (train_scenes, difix_data):\n"
        "    print(each.result_storage is not None, each.result_serializer)"
    )
    for name in ("CI", "DO_NOT_TRACK"):
        environ.pop(name, None)
    environ |= {
        "PYTHONPATH": str(ROOT),
        "PREFECT_FLOWS_DEFAULT_RETRIES": "2",
        "PREFECT_FLOWS_DEFAULT_RETRY_DELAY_SECONDS": "600",
        "PREFECT_TASKS_DEFAULT_RETRIES": "2",
        "PREFECT_TASKS_DEFAULT_RETRY_DELAY_SECONDS": "600",
        "PREFECT_TASKS_DEFAULT_PERSIST_RESULT": "true",
        "PREFECT_TASKS_REFRESH_CACHE": "true",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true",
        "PREFECT_RESULTS_DEFAULT_STORAGE_BLOCK": "s3-bucket/none",
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    }
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True
    )
    told = ["False", *["0 0 False False"] * 4, *["True pickle"] * 2]
    assert result.stdout.splitlines() == told
