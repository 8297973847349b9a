"""The server that a flow starts for itself: its database, its password, its end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from prefect_database import put_migrated_database

from flows.server import managed
from flows.server.managed import API, MAX_RESTARTS, bypass_proxy, own_server
from flows.server.standby import standby_server
from preprocess.faults import FaultsError
from training.system.secrets import remove_secrets

ROOT = Path(__file__).resolve().parents[3]
NOTHING_SET = {"PREFECT_PROFILES_PATH": os.devnull}
"""Prefect's settings of a user who has made none."""


@pytest.fixture
def plain():
    """The environment of that user."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}


@pytest.fixture(scope="module")
def state_root(tmp_path_factory):
    """One for all tests here, whose first database is there already."""
    root = tmp_path_factory.mktemp("state")
    put_migrated_database(root / "prefect" / f"{socket.gethostname()}-1")
    return root


def status(url: str, password: str = "") -> int:
    """The HTTP status of a request with or without a password."""
    user, _, secret = password.partition(":")
    auth = (user, secret) if password else None
    return httpx.get(url, auth=auth, timeout=30, trust_env=False).status_code


@pytest.mark.server
def test_our_server_answers_who_has_the_password_and_nobody_else(state_root, plain):
    """Bound to loopback; the password is not left in the environment that trainers inherit.

    It had imported Prefect before it knew its settings, among them its home.
    """
    with standby_server(["--run-all"]) as standby:
        assert standby is not None
        check_own_server(state_root, plain, standby)


def test_a_server_on_standby_ends_with_the_command_that_starts_no_flow(alive):
    """It has created nothing; arguments that start no flow have none, nor has a named server."""
    with standby_server(["--run-all"]) as standby:
        assert standby is not None
    assert not alive(standby.process.pid)
    for flag in ("--help", "--dry-run"):
        with standby_server(["--run-all", flag]) as none:
            assert none is None


def check_own_server(state_root, plain, standby):
    with own_server(state_root, NOTHING_SET, plain, standby) as api:
        api.wait_until_ready()
        assert api.server is standby.process
        home = f"{api.url}/admin/settings"
        user, _, secret = plain["PREFECT_API_AUTH_STRING"].partition(":")
        answer = httpx.get(home, auth=(user, secret), timeout=30, trust_env=False)
        assert answer.json()["home"] == plain["PREFECT_HOME"]
        password = plain["PREFECT_API_AUTH_STRING"]
        assert api.url == plain["PREFECT_API_URL"]
        assert api.url.startswith("http://127.0.0.1:")
        assert status(f"{api.url}/admin/version") == 401
        assert status(f"{api.url}/admin/version", "admin:guessed") == 401
        assert status(f"{api.url}/admin/version", password) == 200
        remove_secrets(plain)
        assert password not in plain.values()
        assert api.server is not None
    assert api.server.returncode is not None


class Dead:
    """A server process that has ended."""

    returncode = 1

    def poll(self) -> int:
        return self.returncode


def test_a_server_that_dies_again_and_again_is_given_up(monkeypatch):
    """After five restarts within an hour; deaths of days ago don't count."""
    monkeypatch.setattr(managed, "RESTART_CHECK_S", 0.0)
    starts = []
    api = API("", Dead(), start=lambda: starts.append(1) or Dead())
    api._keep_alive()
    assert api.is_lost
    assert len(starts) == MAX_RESTARTS
    monkeypatch.setattr(managed, "RESTARTS_WITHIN_S", 0.0)

    def start_until_enough() -> Dead:
        starts.append(1)
        if len(starts) == 4 * MAX_RESTARTS:
            patient.stopping.set()
        return Dead()

    patient = API("", Dead(), start=start_until_enough)
    patient._keep_alive()
    assert not patient.is_lost


def test_a_server_that_can_not_be_started_for_now_is_tried_again(monkeypatch):
    """Where there is no memory for a process; such a try is no death of a server."""
    monkeypatch.setattr(managed, "RESTART_CHECK_S", 0.0)
    starts = []

    def start() -> Dead:
        starts.append(1)
        if len(starts) <= 2 * MAX_RESTARTS:
            raise OSError("no memory")
        api.stopping.set()
        return Dead()

    api = API("", Dead(), start=start)
    api._keep_alive()
    assert not api.is_lost


@pytest.mark.server
def test_two_flows_at_once_have_two_databases_and_the_next_takes_a_free_one(state_root, plain):
    """SQLite is never shared; a database that was migrated is not made again."""
    other, third = dict(plain), dict(plain)
    first, second = (own_server(state_root, NOTHING_SET, each) for each in (plain, other))
    with first, second:
        homes = {plain["PREFECT_HOME"], other["PREFECT_HOME"]}
    assert len(homes) == 2
    with own_server(state_root, NOTHING_SET, third):
        assert third["PREFECT_HOME"] in homes
    modes = {Path(home).stat().st_mode & 0o777 for home in homes}
    assert modes == {0o700}


@pytest.mark.server
def test_a_killed_flow_takes_its_server_with_it(state_root, alive, eventually):
    """kill -9: the server ends, and its database is free again."""
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from flows.server.managed import prefect_api\n"
        "with prefect_api(Path(sys.argv[1]), verbose=False) as api:\n"
        "    api.wait_until_ready()\n"
        "    print(api.server.pid, flush=True)\n"
        "    time.sleep(120)\n"
    )
    command = [sys.executable, "-c", program, str(state_root)]
    flow = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    server = int(flow.stdout.readline())
    flow.send_signal(signal.SIGKILL)
    flow.communicate(timeout=30)
    eventually(lambda: not alive(server), "the server's end", 15)


@pytest.mark.server
def test_prefect_in_the_flows_process_uses_what_was_set(state_root, tmp_path):
    """The user's profile counts beside our server, and a SOCKS proxy does not stand in the way.

    httpx alone refuses to make any client where ALL_PROXY=socks5://… is set.
    """
    (tmp_path / ".prefect").mkdir()
    (tmp_path / ".prefect" / "profiles.toml").write_text(
        'active = "own"\n[profiles.own]\nPREFECT_FLOWS_HEARTBEAT_FREQUENCY = "77"\n'
        'PREFECT_LOGGING_LEVEL = "ERROR"\n'
    )
    program = (
        "import logging, os, sys\n"
        "from pathlib import Path\n"
        "from flows.server.managed import prefect_api\n"
        "with prefect_api(Path(sys.argv[1]), verbose=False) as api:\n"
        "    from prefect import flow, get_client\n"
        "    from prefect.settings import get_current_settings\n"
        "    api.wait_until_ready()\n"
        "    @flow\n"
        "    def small(): return 1\n"
        "    small()\n"
        "    with get_client(sync_client=True) as client:\n"
        "        (run,) = client.read_flow_runs(limit=1)\n"
        "        print(run.state_name, str(client.api_url).rstrip('/') == api.url)\n"
        "    current = get_current_settings()\n"
        "    print(current.flows.heartbeat_frequency, current.logging.level)\n"
        "    print(max(each.level for each in logging.getLogger().handlers))\n"
        "    print(current.home == Path(os.environ['PREFECT_HOME']), os.environ['ALL_PROXY'])\n"
    )
    plain = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    proxy = {"ALL_PROXY": "socks5://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    result = subprocess.run(
        [sys.executable, "-c", program, str(state_root)],
        cwd=tmp_path,
        env={**plain, **proxy, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "Completed True",
        "77 ERROR",
        "50",  # on the terminal only what is critical, since the flow is not verbose
        "True socks5://127.0.0.1:9",
    ]


@pytest.mark.server
def test_a_home_that_the_user_names_is_used(tmp_path, plain):
    """PREFECT_HOME: our server keeps its database there; nothing of ours is made."""
    settings = {**NOTHING_SET, "PREFECT_HOME": str(tmp_path / "home")}
    with own_server(tmp_path / "state", settings, plain):
        assert plain["PREFECT_HOME"] == str(tmp_path / "home")
    assert (tmp_path / "home" / "server.log").exists()
    assert not (tmp_path / "state").exists()


@pytest.mark.server
def test_a_server_that_can_not_start_is_a_fault_with_its_log(tmp_path, plain):
    """Not a wait of two minutes: it has ended, and its log says why."""
    database = "sqlite+aiosqlite:////no/such/folder/x.db"
    settings = {**NOTHING_SET, "PREFECT_SERVER_DATABASE_CONNECTION_URL": database}
    with own_server(tmp_path, settings, plain) as api, pytest.raises(FaultsError) as caught:
        api.wait_until_ready()
    (fault,) = caught.value.faults
    assert "Prefect's server ended with status" in fault.what
    assert "unable to open database file" in Path(fault.value).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("url", "exceptions"),
    [
        ("http://127.0.0.1:1/api", "example.org,127.0.0.1"),
        ("http://localhost:1/api", "example.org,localhost"),
        ("https://prefect.invalid/api", "example.org"),
    ],
)
def test_a_proxy_is_not_asked_for_the_way_to_this_machine(url, exceptions):
    """Clusters set HTTP_PROXY for everybody; the user's exceptions stay."""
    environ = {"no_proxy": "example.org", "ALL_PROXY": "socks5://proxy:1080"}
    bypass_proxy(url, environ)
    bypass_proxy(url, environ)
    assert environ["no_proxy"] == environ.get("NO_PROXY", "example.org") == exceptions


def test_without_a_proxy_nothing_is_changed():
    """Trainers get the environment that they would get without the flow."""
    environ = {"HOME": "/root"}
    bypass_proxy("http://127.0.0.1:1/api", environ)
    assert environ == {"HOME": "/root"}


def test_importing_it_imports_no_prefect():
    """A wrong option is reported in a blink: Prefect and Dask come later."""
    program = (
        "import sys, flows.server.managed\n"
        "print([each for each in ('prefect', 'dask', 'httpx') if each in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
