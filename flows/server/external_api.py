"""The Prefect API that the user names: it must answer, know the password, and ask for one.

Light: Prefect is not imported.
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
import os
import socket
import ssl
import tomllib
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from preprocess.faults import Fault, FaultsError

ANSWER_S = 5.0
CLIENT_PASSWORD = "PREFECT_API_AUTH_STRING"  # noqa: S105  # the variable's name
CA_FILE = "PREFECT_API_SSL_CERT_FILE"
INSECURE = "PREFECT_API_TLS_INSECURE_SKIP_VERIFY"
CLIENT_KEY = "PREFECT_API_KEY"
SERVER_PASSWORD = "PREFECT_SERVER_API_AUTH_STRING"  # noqa: S105
NEEDS_PASSWORD = "/admin/version"  # noqa: S105  # a path
GUIDE = "docs/server.md"


def named_api(environ: Mapping[str, str]) -> str:
    """The API that the user has named: the variable, or the active profile of a PREFECT_HOME."""
    return setting("PREFECT_API_URL", environ)


def trusted(environ: Mapping[str, str] = os.environ) -> ssl.SSLContext:
    """Whom Prefect's own clients trust: a file that is named, else certifi; never the system's.

    Raises FaultsError for a file that can't be read.
    """
    import certifi

    file = setting(CA_FILE, environ) or environ.get("SSL_CERT_FILE", "")
    try:
        context = ssl.create_default_context(cafile=file or certifi.where())
    except OSError as error:  # ssl.SSLError is one
        remedy = "name a file of certificates in PEM format"
        raise FaultsError([Fault(f"{CA_FILE} can't be used ({error})", file, remedy)]) from error
    if setting(INSECURE, environ).lower() in ("1", "true", "yes", "on", "t", "y"):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def check_reachable(
    url: str, environ: Mapping[str, str] = os.environ, timeout_s: float = ANSWER_S
) -> None:
    """Raises FaultsError unless a Prefect API answers at `url` within `timeout_s`."""
    context = trusted(environ)
    remedy = "start that server, correct the address (it ends in /api), or unset PREFECT_API_URL"
    try:
        with urllib.request.urlopen(  # noqa: S310
            url.rstrip("/") + "/health", timeout=timeout_s, context=context
        ):
            return
    except urllib.error.HTTPError as error:
        problem = f"answers {error.code} {error.reason}"
    except urllib.error.URLError as error:
        problem = str(error.reason)
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            remedy = f"export {CA_FILE}=FILE with the certificate of who signed it, see {GUIDE}"
    except (OSError, ValueError, http.client.HTTPException) as error:
        problem = str(error) or type(error).__name__
    raise FaultsError([Fault(f"PREFECT_API_URL: no Prefect API there ({problem})", url, remedy)])


def check_password(url: str, environ: Mapping[str, str] = os.environ) -> None:
    """Raises FaultsError where the server refuses the user's password, or that he has none."""
    password = setting(CLIENT_PASSWORD, environ)
    if setting(CLIENT_KEY, environ) or _status(url, password, environ) != http.client.UNAUTHORIZED:
        return
    what = "is not the server's" if password else "is missing: the server asks for a password"
    remedy = f"export {CLIENT_PASSWORD}=USER:PASSWORD, see {GUIDE}"
    raise FaultsError([Fault(f"{CLIENT_PASSWORD} {what}", url, remedy)])


def exposure(url: str, environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Warnings about a server on the network that others can use or listen to; with the fix."""
    parts = urllib.parse.urlsplit(url)
    if _is_loopback(parts.hostname or ""):
        return ()
    if _status(url, "", environ) == http.client.OK:
        remedy = f"start it with {SERVER_PASSWORD}=USER:PASSWORD and give {CLIENT_PASSWORD} here"
        what = f"{url} asks for no password: whoever reaches it can start programs as its users"
        return (f"{what}\n    -> {remedy}, see {GUIDE}",)
    if parts.scheme == "http":
        what = f"{url} is not encrypted: the network can read the password"
        return (f"{what}\n    -> put TLS in front of it and use https://, see {GUIDE}",)
    return ()


def _is_loopback(host: str) -> bool:
    """Whether all addresses of a host are this machine's own; a name unknown is not."""
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return all(ipaddress.ip_address(str(each).partition("%")[0]).is_loopback for each in found)


def _status(url: str, password: str, environ: Mapping[str, str]) -> int:
    """The HTTP status of a request that needs a password; 0 when there is no answer."""
    token = base64.b64encode(password.encode()).decode()
    headers = {"Authorization": f"Basic {token}"} if password else {}
    request = urllib.request.Request(url.rstrip("/") + NEEDS_PASSWORD, headers=headers)  # noqa: S310
    context = trusted(environ)
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_S, context=context) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, ValueError, http.client.HTTPException):
        return 0


def setting(name: str, environ: Mapping[str, str]) -> str:
    """A setting of Prefect's: the variable, or the active profile of a PREFECT_HOME."""
    if value := environ.get(name):
        return value
    if "PREFECT_HOME" not in environ:
        return ""
    try:
        content = Path(environ["PREFECT_HOME"], "profiles.toml").read_text(encoding="utf-8")
        profiles = tomllib.loads(content).get("profiles", {})
    except OSError:  # none
        return ""
    except tomllib.TOMLDecodeError as error:
        what = "PREFECT_HOME: its profiles.toml can't be read"
        raise FaultsError([Fault(what, str(error), "repair or delete that file")]) from error
    if not isinstance(profiles, dict):
        return ""
    active = environ.get("PREFECT_PROFILE") or tomllib.loads(content).get("active")
    return str(profiles.get(active, {}).get(name, ""))
