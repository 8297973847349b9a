"""The server that the user names: who may use it, and what strangers could do with it."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deployments.api_client import connect
from flows.server import external_api
from flows.server.external_api import (
    api_client,
    check_credentials,
    check_reachable,
    exposure_warnings,
)
from flows.server.managed import prefect_api
from preprocess.faults import FaultsError

ROOT = Path(__file__).resolve().parents[3]
PASSWORD = "admin:secret"


def own_certificate(file) -> None:
    """A key, and a certificate for 127.0.0.1 that it has signed itself, as one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lab")])
    began, day = dt.datetime.now(dt.UTC), dt.timedelta(days=1)
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(began - day)
        .not_valid_after(began + day)
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    as_text = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, *as_text)
        + made.public_bytes(serialization.Encoding.PEM)
    )


@pytest.fixture
def tls_server(server, tmp_path):
    """The same behind TLS with the lab's own certificate, in `server.certificate`."""
    server.certificate = tmp_path / "lab.pem"
    own_certificate(server.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.url = server.url.replace("http:", "https:")
    return server


@pytest.mark.parametrize("name", ["PREFECT_API_SSL_CERT_FILE", "SSL_CERT_FILE"])
def test_a_labs_own_certificate_is_trusted_where_it_is_named(tls_server, environ, name):
    """By all our requests, as by Prefect's own."""
    named = {"PREFECT_API_URL": tls_server.url, "PREFECT_API_AUTH_STRING": PASSWORD}
    environ |= {**named, name: str(tls_server.certificate)}
    with prefect_api(tls_server.certificate.parent, verbose=False) as api:
        assert api.url == tls_server.url
    with connect({**named, name: str(tls_server.certificate)}) as client:
        assert client.get("/admin/version").status_code == 200


@pytest.mark.parametrize(("setting", "is_trusted"), [("True", True), ("False", False)])
def test_a_certificate_is_not_looked_at_where_the_user_says_so(tls_server, setting, is_trusted):
    """Prefect's own switch holds for our requests too."""
    settings = {"PREFECT_API_TLS_INSECURE_SKIP_VERIFY": setting}
    if is_trusted:
        check_reachable(tls_server.url, settings)
        return
    with pytest.raises(FaultsError):
        check_reachable(tls_server.url, settings)


def test_an_unknown_certificate_is_a_fault_that_says_how_to_name_it(tls_server):
    """Not a traceback, and not trusted."""
    with pytest.raises(FaultsError, match="export PREFECT_API_SSL_CERT_FILE=FILE"):
        check_reachable(tls_server.url, {})
    with pytest.raises(FaultsError, match="PREFECT_API_SSL_CERT_FILE can't be used"):
        check_reachable(tls_server.url, {"PREFECT_API_SSL_CERT_FILE": "/nowhere.pem"})


@pytest.fixture
def on_the_network(monkeypatch):
    """As if the server had another machine's address."""
    monkeypatch.setattr(external_api, "is_loopback", lambda _: False)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({}, "PREFECT_API_AUTH_STRING is missing"),
        ({"PREFECT_API_AUTH_STRING": "admin:no"}, "PREFECT_API_AUTH_STRING is not the server's"),
        ({"PREFECT_API_KEY": "pnu_no"}, "PREFECT_API_KEY is refused"),
    ],
)
def test_credentials_that_are_refused_are_a_fault(server, settings, problem):
    """Before anything starts, with the variable's name; not a crash in the middle."""
    with pytest.raises(FaultsError) as caught:
        check_credentials(server.url, settings)
    (fault,) = caught.value.faults
    assert fault.what.startswith(problem)
    assert fault.remedy


def test_the_right_password_or_key_passes_and_an_open_server_asks_for_none(server):
    """A password comes before a key, as in Prefect's own clients."""
    both = {"PREFECT_API_AUTH_STRING": PASSWORD, "PREFECT_API_KEY": "pnu_other"}
    check_credentials(server.url, both)
    server.password = ""
    check_credentials(server.url, {})
    server.key = "pnu_1"
    check_reachable(server.url, {})
    check_credentials(server.url, {"PREFECT_API_KEY": "pnu_1"})


def test_headers_for_a_gateway_in_front_of_the_server_are_sent(server):
    """PREFECT_CLIENT_CUSTOM_HEADERS, JSON, as Prefect's own clients send them."""
    settings = {"PREFECT_CLIENT_CUSTOM_HEADERS": '{"X-Pass": "1"}', "PREFECT_API_KEY": "pnu_1"}
    with api_client(server.url, settings) as client:
        assert client.headers["X-Pass"] == "1"
        assert client.headers["Authorization"] == "Bearer pnu_1"


def test_a_login_in_the_users_profile_is_used(server, tmp_path, environ):
    """As `prefect cloud login` leaves it in ~/.prefect; the health check sends the key too."""
    server.key = "pnu_1"
    (tmp_path / ".prefect").mkdir()
    (tmp_path / ".prefect" / "profiles.toml").write_text(
        'active = "cloud"\n[profiles.cloud]\n'
        f'PREFECT_API_URL = "{server.url}"\nPREFECT_API_KEY = "pnu_1"\n'
    )
    program = (
        "from pathlib import Path\n"
        "from flows.server.managed import prefect_api\n"
        "with prefect_api(Path('state'), verbose=False) as api:\n"
        "    from prefect.settings import PREFECT_API_KEY\n"
        "    print(api.url, PREFECT_API_KEY.value())\n"
        "    from flows.adapters.prefect_settings_adapter import ui_address\n"
        "    import os\n"
        "    os.environ['PREFECT_API_URL'] = 'https://api.prefect.cloud/api/accounts/a/workspaces/w'\n"
        "    from flows.server.settings import read_settings\n"
        "    read_settings()\n"
        "    print(ui_address())\n"
    )
    del environ["PREFECT_PROFILES_PATH"]
    environ |= {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    used, ui = result.stdout.splitlines()
    assert used == f"{server.url} pnu_1", result.stderr
    assert ui == "https://app.prefect.cloud/account/a/workspace/w"
    assert not (tmp_path / "state").exists()


@pytest.mark.usefixtures("on_the_network")
def test_an_open_server_on_the_network_is_warned_about(server):
    """What can happen, and the setting that ends it."""
    server.password = ""
    (warning,) = exposure_warnings(server.url, {})
    assert "asks for no password" in warning
    assert "PREFECT_SERVER_API_AUTH_STRING" in warning


@pytest.mark.usefixtures("on_the_network")
def test_a_password_in_clear_is_warned_about(server):
    """With a password but without TLS."""
    (warning,) = exposure_warnings(server.url, {})
    assert "not encrypted" in warning
    assert exposure_warnings(server.url.replace("http://", "https://"), {}) == ()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_this_machines_own_server_is_not_warned_about(host):
    """Nobody else reaches it, or who does is a user of this machine."""
    assert exposure_warnings(f"http://{host}:4200/api", {}) == ()


@pytest.mark.usefixtures("on_the_network")
def test_the_flow_prints_the_warning(server, tmp_path, capsys, environ):
    """On the way in, before anything is sent there."""
    server.password = ""
    environ["PREFECT_API_URL"] = server.url
    with prefect_api(tmp_path, verbose=False) as api:
        assert api.url == server.url
    assert "warning: http://127.0.0.1" in capsys.readouterr().err


@pytest.fixture
def silent_server():
    """Takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.fixture
def not_prefect():
    """A web server without the path that is asked for."""

    class Nothing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Nothing) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_an_api_that_is_named_must_answer(silent_server, not_prefect):
    """Silent, another program, no such address: what, value and remedy, within the limit."""
    urls = {
        f"http://127.0.0.1:{silent_server}/api": "timed out",
        f"http://127.0.0.1:{not_prefect}/api": "answers 404",
        "http://nowhere.invalid/api": "",
        "127.0.0.1:4200/api": "protocol",
        "http://[::1": "",
    }
    for url, problem in urls.items():
        with pytest.raises(FaultsError) as caught:
            check_reachable(url, {}, timeout_s=0.5)
        (fault,) = caught.value.faults
        assert fault.what.startswith("PREFECT_API_URL: no Prefect API there")
        assert problem in fault.what
        assert fault.value == url
        assert "unset PREFECT_API_URL" in fault.remedy


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9"])
def test_no_proxy_is_asked_for_the_way_to_this_machine(server, environ, proxy):
    """Clusters set HTTP_PROXY for everybody, users ALL_PROXY for themselves."""
    environ |= {"HTTP_PROXY": proxy, "ALL_PROXY": proxy}
    check_reachable(server.url, {})


@pytest.fixture
def busy_server():
    """Answers 503 `busy` times, then 204; remembers the bodies."""

    class Busy(BaseHTTPRequestHandler):
        def do_PATCH(self) -> None:
            made.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(503 if len(made.bodies) <= made.busy else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Busy) as made:
        made.bodies, made.busy = [], 0
        threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
        yield made
        made.shutdown()


@pytest.mark.parametrize(("times", "status"), [(1, 204), (1_000_000, 503)])
def test_a_busy_server_gets_the_same_request_again_for_a_while(busy_server, times, status):
    """503 is Prefect's answer while SQLite is locked; the caller sees the last answer."""
    busy_server.busy = times
    with api_client(f"http://127.0.0.1:{busy_server.server_port}", {}) as client:
        client.patience_s = 0.3 if status == 503 else 30.0
        assert client.patch("/x", json={"a": 1}).status_code == status
    assert busy_server.bodies[:2] == [b'{"a":1}'] * 2
    assert len(busy_server.bodies) < 5
