"""What stands around Prefect: its server, its database, its password, what a user names."""

from __future__ import annotations

import base64
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from flows.server import managed
from flows.server.managed import check_reachable, named_api, prefect_api
from preprocess.faults import FaultsError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def plain():
    """The environment of a user who has set nothing of Prefect's."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}


@pytest.fixture(scope="module")
def state_root(tmp_path_factory):
    """One for all tests here: a database that is made once serves again."""
    return tmp_path_factory.mktemp("state")


def status(url: str, password: str = "") -> int:
    """The HTTP status of a request with or without a password."""
    token = base64.b64encode(password.encode()).decode()
    headers = {"Authorization": f"Basic {token}"} if password else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as ok:
            return ok.status
    except urllib.error.HTTPError as error:
        return error.code


def test_our_server_answers_who_has_the_password_and_nobody_else(state_root, plain):
    """Bound to loopback; the password is not left in the environment that trainers inherit."""
    with prefect_api(state_root, plain, verbose=False) as api:
        api.wait_until_ready()
        password = plain["PREFECT_API_AUTH_STRING"]
        assert api.url == plain["PREFECT_API_URL"]
        assert api.url.startswith("http://127.0.0.1:")
        assert status(f"{api.url}/admin/version") == 401
        assert status(f"{api.url}/admin/version", "admin:guessed") == 401
        assert status(f"{api.url}/admin/version", password) == 200
        managed.forget_passwords(plain)
        assert password not in plain.values()
        assert api.server is not None
    assert api.server.returncode is not None


def test_the_password_of_a_named_server_is_forgotten_too():
    """Trainers and jobs need neither the server nor its secrets."""
    environ = {"PREFECT_API_AUTH_STRING": "lab:secret", "PREFECT_API_KEY": "key", "HOME": "/root"}
    managed.forget_passwords(environ)
    assert environ == {"HOME": "/root"}


def test_two_flows_at_once_have_two_databases_and_the_next_takes_a_free_one(state_root, plain):
    """SQLite is never shared; a database that was migrated is not made again."""
    other = dict(plain)
    first, second = (prefect_api(state_root, each, verbose=False) for each in (plain, other))
    with first, second:
        homes = {plain["PREFECT_HOME"], other["PREFECT_HOME"]}
    assert len(homes) == 2
    third = {name: value for name, value in os.environ.items() if "PREFECT" not in name}
    with prefect_api(state_root, third, verbose=False):
        assert third["PREFECT_HOME"] in homes
    modes = {Path(home).stat().st_mode & 0o777 for home in homes}
    assert modes == {0o700}


def test_a_killed_flow_takes_its_server_with_it(state_root, plain, alive, eventually):
    """kill -9: the server ends, and its database is free again."""
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from flows.server.managed import prefect_api\n"
        "with prefect_api(Path(sys.argv[1]), verbose=False) as api:\n"
        "    api.wait_until_ready()\n"
        "    print(api.server.pid, flush=True)\n"
        "    time.sleep(120)\n"
    )
    command = [sys.executable, "-c", script, str(state_root)]
    flow = subprocess.Popen(command, cwd=ROOT, env=plain, stdout=subprocess.PIPE, text=True)
    server = int(flow.stdout.readline())
    flow.send_signal(signal.SIGKILL)
    flow.communicate(timeout=30)
    eventually(lambda: not alive(server), "the server's end", 15)


def test_a_home_that_the_user_names_is_used(tmp_path, plain):
    """PREFECT_HOME from outside: our server keeps its database there; nothing of ours is made."""
    plain["PREFECT_HOME"] = str(tmp_path / "home")
    with prefect_api(tmp_path / "state", plain, verbose=False):
        assert plain["PREFECT_HOME"] == str(tmp_path / "home")
    assert (tmp_path / "home" / "server.log").exists()
    assert not (tmp_path / "state").exists()


def test_a_server_that_can_not_start_is_a_fault_with_its_log(tmp_path, plain):
    """Not a wait of two minutes: it has ended, and its log says why."""
    plain["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = "sqlite+aiosqlite:////no/such/folder/x.db"
    with prefect_api(tmp_path, plain, verbose=False) as api, pytest.raises(FaultsError) as caught:
        api.wait_until_ready()
    (fault,) = caught.value.faults
    assert "Prefect's server ended with status" in fault.what
    assert "unable to open database file" in Path(fault.value).read_text(encoding="utf-8")


def test_a_proxy_is_not_asked_for_the_way_to_this_machine(state_root, plain):
    """Clusters set HTTP_PROXY for everybody; the user's exceptions stay."""
    plain |= {"no_proxy": "example.org", "HTTP_PROXY": "http://127.0.0.1:9"}
    with prefect_api(state_root, plain, verbose=False):
        assert plain["no_proxy"] == plain["NO_PROXY"] == "example.org,127.0.0.1"


@pytest.fixture
def silent_server():
    """Takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.fixture
def not_prefect():
    """A web server without the path that is asked for."""
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Nothing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Nothing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_an_api_that_is_named_must_answer(silent_server, not_prefect):
    """Silent, another program, no such address: what, value and remedy, within the limit."""
    urls = {
        f"http://127.0.0.1:{silent_server}/api": "timed out",
        f"http://127.0.0.1:{not_prefect}/api": "404",
        "http://nowhere.invalid/api": "",
        "127.0.0.1:4200/api": "unknown url type",
    }
    for url, problem in urls.items():
        with pytest.raises(FaultsError) as caught:
            check_reachable(url, timeout_s=0.5)
        (fault,) = caught.value.faults
        assert fault.what.startswith("PREFECT_API_URL: no Prefect API there")
        assert problem in fault.what
        assert fault.value == url
        assert "unset PREFECT_API_URL" in fault.remedy


def test_the_api_of_a_named_homes_profile_counts(tmp_path):
    """The variable first, then the active profile of PREFECT_HOME; ~/.prefect is not read."""
    (tmp_path / "profiles.toml").write_text(
        'active = "lab"\n[profiles.lab]\nPREFECT_API_URL = "http://lab/api"\n[profiles.other]\n'
    )
    home = {"PREFECT_HOME": str(tmp_path)}
    assert named_api({}) == ""
    assert named_api(home) == "http://lab/api"
    assert named_api({**home, "PREFECT_PROFILE": "other"}) == ""
    assert named_api({**home, "PREFECT_API_URL": "http://mine/api"}) == "http://mine/api"


def test_importing_it_imports_no_prefect():
    """A wrong option is told in a blink: Prefect and Dask come later."""
    program = (
        "import sys, flows.server.managed\n"
        "print([each for each in ('prefect', 'dask', 'distributed') if each in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
