"""The server that the user names: its password, and what strangers could do with it."""

from __future__ import annotations

import base64
import datetime as dt
import ssl
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deployments.api_client import api_client
from flows.server import external_api
from flows.server.external_api import check_password, check_reachable, exposure
from flows.server.managed import prefect_api
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
def test_a_labs_own_certificate_is_trusted_where_it_is_named(tls_server, name):
    """By all our requests, as by Prefect's own."""
    environ = {"PREFECT_API_URL": tls_server.url, "PREFECT_API_AUTH_STRING": PASSWORD}
    environ[name] = str(tls_server.certificate)
    with prefect_api(tls_server.certificate.parent, environ, verbose=False) as api:
        assert api.url == tls_server.url
    with api_client(environ) as client:
        assert client.get("/admin/version").status_code == 200


def test_an_unknown_certificate_is_a_fault_that_says_how_to_name_it(tls_server):
    """Not a traceback, and not trusted."""
    with pytest.raises(FaultsError, match="export PREFECT_API_SSL_CERT_FILE=FILE"):
        check_reachable(tls_server.url, {})
    with pytest.raises(FaultsError, match="PREFECT_API_SSL_CERT_FILE can't be used"):
        check_reachable(tls_server.url, {"PREFECT_API_SSL_CERT_FILE": "/nowhere.pem"})


@pytest.fixture
def on_the_network(monkeypatch):
    """As if the server had another machine's address."""
    monkeypatch.setattr(external_api, "_is_loopback", lambda _: False)


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
