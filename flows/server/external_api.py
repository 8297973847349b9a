"""Requests to a Prefect API, and the checks of one that the user names.

It must answer, take the user's password or key, and not be open to strangers. Credentials,
certificates and proxies are those that Prefect's own clients would use.

This imports httpx: import it inside functions where a command has not imported Prefect yet.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import socket
import ssl
import sys
from typing import Any

import certifi
import httpx
from tenacity import Retrying, stop_after_delay
from tenacity.retry import retry_if_result

from flows.server.retry_503 import CLIENT_PATIENCE_S, PAUSE, is_busy
from flows.server.settings import (
    API_URL,
    CA_FILE,
    CLIENT_HEADERS,
    CLIENT_KEY,
    CLIENT_PASSWORD,
    INSECURE,
    SERVER_PASSWORD,
    Settings,
)
from preprocess.faults import Fault, FaultsError
from training.system.console import say
from training.system.secrets import PREFECT_SECRETS

CHECK_S = 5.0
ANSWER_S = 90.0
"""Longer than the minute that Prefect's SQLite waits for its lock, and with it the client."""
NEEDS_PASSWORD = "/admin/version"  # noqa: S105  # a path
GUIDE = "docs/server.md"


class ApiClient(httpx.Client):
    """An HTTP client of a Prefect API that repeats a request while the database is busy."""

    patience_s = CLIENT_PATIENCE_S

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Send a request; return the first answer that is not 503, or the last one."""
        retrying = Retrying(
            retry=retry_if_result(lambda answer: is_busy(answer.status_code)),
            stop=stop_after_delay(self.patience_s),
            wait=PAUSE,
            retry_error_callback=lambda state: state.outcome and state.outcome.result(),
        )
        answer: httpx.Response = retrying(super().send, request, **options)
        return answer


def api_client(url: str, settings: Settings, timeout_s: float = ANSWER_S) -> ApiClient:
    """Return a client with the credentials and the trust that Prefect's own clients would have.

    It asks no proxy for the way to this machine. Raises FaultsError for a file of certificates
    that can't be read.
    """
    return ApiClient(
        base_url=url,
        headers=_headers(settings),
        timeout=timeout_s,
        verify=_tls_context(settings),
        trust_env=not is_loopback(httpx.URL(url).host),
        follow_redirects=True,
    )


def check_server(url: str, settings: Settings) -> None:
    """Check the API that the user names; warn about one that strangers can use.

    Raises FaultsError when it does not answer, or refuses the user's password or key.
    """
    check_reachable(url, settings)
    check_credentials(url, settings)
    for warning in exposure_warnings(url, settings):
        say(f"warning: {warning}", sys.stderr)


def check_reachable(url: str, settings: Settings, timeout_s: float = CHECK_S) -> None:
    """Raise FaultsError unless a Prefect API answers at `url` within `timeout_s`."""
    remedy = f"start that server, correct the address (it ends in /api), or unset {API_URL}"
    try:
        status = _status(url, "/health", settings, timeout_s)
        problem = (
            "" if status in {httpx.codes.OK, httpx.codes.UNAUTHORIZED} else f"answers {status}"
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        problem = str(error) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in problem:
            remedy = f"export {CA_FILE}=FILE with the certificate of who signed it, see {GUIDE}"
    if problem:
        raise FaultsError([Fault(f"{API_URL}: no Prefect API there ({problem})", url, remedy)])


def check_credentials(url: str, settings: Settings) -> None:
    """Raise FaultsError when the server refuses the user's password or key, or misses one."""
    if _status_or_0(url, NEEDS_PASSWORD, settings) != httpx.codes.UNAUTHORIZED:
        return
    remedy = f"export {CLIENT_PASSWORD}=USER:PASSWORD, see {GUIDE}"
    if settings.get(CLIENT_PASSWORD):
        what = f"{CLIENT_PASSWORD} is not the server's"
    elif settings.get(CLIENT_KEY):
        what, remedy = f"{CLIENT_KEY} is refused", "log in again: prefect cloud login"
    else:
        what = f"{CLIENT_PASSWORD} is missing: the server asks for a password"
    raise FaultsError([Fault(what, url, remedy)])


def exposure_warnings(url: str, settings: Settings) -> tuple[str, ...]:
    """Return warnings, with remedies, about a server that others can use or listen to."""
    parts = httpx.URL(url)
    if is_loopback(parts.host):
        return ()
    as_stranger = {name: value for name, value in settings.items() if name not in PREFECT_SECRETS}
    if _status_or_0(url, NEEDS_PASSWORD, as_stranger) == httpx.codes.OK:
        remedy = f"start it with {SERVER_PASSWORD}=USER:PASSWORD and give {CLIENT_PASSWORD} here"
        what = f"{url} asks for no password: whoever reaches it can start programs as its users"
        return (f"{what}\n    -> {remedy}, see {GUIDE}",)
    if parts.scheme == "http":
        what = f"{url} is not encrypted: the network can read the password"
        return (f"{what}\n    -> put TLS in front of it and use https://, see {GUIDE}",)
    return ()


def is_loopback(host: str) -> bool:
    """Return whether all addresses of a host are this machine's own; an unknown name is not."""
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return False
    return all(ipaddress.ip_address(str(each).partition("%")[0]).is_loopback for each in found)


def _headers(settings: Settings) -> dict[str, str]:
    """Return the headers that Prefect's own clients send: a password comes before a key."""
    headers: dict[str, str] = json.loads(settings.get(CLIENT_HEADERS) or "{}")
    if password := settings.get(CLIENT_PASSWORD):
        token = base64.b64encode(password.encode()).decode()
        return {**headers, "Authorization": f"Basic {token}"}
    if key := settings.get(CLIENT_KEY):
        return {**headers, "Authorization": f"Bearer {key}"}
    return headers


def _tls_context(settings: Settings) -> ssl.SSLContext:
    """Return a context that trusts as Prefect's own clients do.

    They trust a file that is named, else certifi, never the system. Raises FaultsError for a file
    that can't be read.
    """
    file = settings.get(CA_FILE) or os.environ.get("SSL_CERT_FILE", "")
    try:
        context = ssl.create_default_context(cafile=file or certifi.where())
    except OSError as error:  # ssl.SSLError is one
        remedy = "name a file of certificates in PEM format"
        raise FaultsError([Fault(f"{CA_FILE} can't be used ({error})", file, remedy)]) from error
    if settings.get(INSECURE) == "True":
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _status(url: str, path: str, settings: Settings, timeout_s: float = CHECK_S) -> int:
    """Return the HTTP status of a GET, asked once; raises httpx.HTTPError or httpx.InvalidURL."""
    with api_client(url, settings, timeout_s) as client:
        client.patience_s = 0.0
        return client.get(path).status_code


def _status_or_0(url: str, path: str, settings: Settings) -> int:
    """Return the HTTP status of a GET, asked once; 0 when there is no answer."""
    try:
        return _status(url, path, settings)
    except httpx.HTTPError:
        return 0
