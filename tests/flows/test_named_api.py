"""The server that the user names: its password, and what strangers could do with it."""

from __future__ import annotations

import base64
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from flows import named_api
from flows.environment import prefect_api
from flows.named_api import check_password, exposure
from preprocess.faults import FaultsError

PASSWORD = "admin:secret"


@pytest.fixture
def server():
    """Answers as Prefect does; `server.password` is what it asks for."""

    class Prefect(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            token = base64.b64encode(made.password.encode()).decode()
            is_open = self.path.endswith("/health") or not made.password
            allowed = is_open or self.headers["Authorization"] == f"Basic {token}"
            self.send_response(200 if allowed else 401)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Prefect) as made:
        made.password = PASSWORD
        made.url = f"http://127.0.0.1:{made.server_port}/api"
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


@pytest.fixture
def on_the_network(monkeypatch):
    """As if the server had another machine's address."""
    monkeypatch.setattr(named_api, "_is_loopback", lambda _: False)


@pytest.mark.parametrize(
    ("given", "told"), [("", "is missing"), ("admin:no", "is not the server's")]
)
def test_a_password_that_is_refused_is_a_fault(server, given, told):
    """Before anything starts, with the variable's name; not a crash in the middle."""
    with pytest.raises(FaultsError) as caught:
        check_password(server.url, {"PREFECT_API_AUTH_STRING": given})
    (fault,) = caught.value.faults
    assert fault.what.startswith(f"PREFECT_API_AUTH_STRING {told}")
    assert "docs/server.md" in fault.remedy


def test_the_right_password_passes_and_so_does_a_profiles(server, tmp_path):
    """As a variable, and in the profile of a PREFECT_HOME; an open server asks for none."""
    check_password(server.url, {"PREFECT_API_AUTH_STRING": PASSWORD})
    (tmp_path / "profiles.toml").write_text(
        f'active = "lab"\n[profiles.lab]\nPREFECT_API_AUTH_STRING = "{PASSWORD}"\n'
    )
    check_password(server.url, {"PREFECT_HOME": str(tmp_path)})
    server.password = ""
    check_password(server.url, {})


@pytest.mark.usefixtures("on_the_network")
def test_an_open_server_on_the_network_is_warned_about(server):
    """What can happen, and the setting that ends it."""
    server.password = ""
    (warning,) = exposure(server.url)
    assert "asks for no password" in warning
    assert "PREFECT_SERVER_API_AUTH_STRING" in warning


@pytest.mark.usefixtures("on_the_network")
def test_a_password_in_clear_is_warned_about(server):
    """With a password but without TLS."""
    (warning,) = exposure(server.url)
    assert "not encrypted" in warning
    assert exposure(server.url.replace("http://", "https://")) == ()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_this_machines_own_server_is_not_warned_about(host):
    """Nobody else reaches it, or who does is a user of this machine."""
    assert exposure(f"http://{host}:4200/api") == ()


@pytest.mark.usefixtures("on_the_network")
def test_the_flow_tells_the_warning(server, tmp_path, capsys):
    """On the way in, before Prefect is imported."""
    server.password = ""
    with prefect_api(tmp_path, {"PREFECT_API_URL": server.url}, verbose=False) as api:
        assert api.url == server.url
    assert "warning: http://127.0.0.1" in capsys.readouterr().err
