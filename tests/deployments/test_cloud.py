"""Deploying to Prefect Cloud, imitated: a key for every request, a plan without automations."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deployments.api_client import connect
from preprocess.faults import FaultsError

CHECKOUT = Path(__file__).resolve().parents[2]
KEY = "pnu_0123456789"
WORKSPACE = "/api/accounts/11aa/workspaces/22bb"


class Cloud(BaseHTTPRequestHandler):
    """Answers what a deploy asks; a request without the key is 401, automations are 403."""

    requests: list[tuple[str, str, dict]]

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length) or "{}")
        path = self.path.removeprefix(WORKSPACE)
        self.requests.append((self.command, path, body))
        status, answer = self._found(path) if self._has_key() else (401, {})
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _has_key(self) -> bool:
        return self.headers["Authorization"] == f"Bearer {KEY}"

    def _found(self, path: str) -> tuple[int, object]:
        if path == self.path or path.startswith(("/deployments/name/", "/admin/")):
            return 404, {"detail": "Not Found"}
        if path.startswith("/automations"):
            return 403, {"detail": "Your plan has no automations"}
        if path.endswith("/workers/filter"):
            return 200, []
        return 200, {"id": "33cc", "type": "process"}

    do_GET = do_POST = _answer  # noqa: N815 - named by http.server

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def cloud():
    """The address of a workspace, and the requests that came."""
    Cloud.requests = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Cloud) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}{WORKSPACE}", Cloud.requests
        server.shutdown()


def test_the_login_of_a_profile_deploys_and_what_the_plan_lacks_is_a_warning(cloud, tmp_path):
    """As after `prefect cloud login`, with no variable set."""
    url, requests = cloud
    lines = ['active = "cloud"', "[profiles.cloud]"]
    lines += [f'PREFECT_API_URL = "{url}"', f'PREFECT_API_KEY = "{KEY}"', ""]
    (tmp_path / "profiles.toml").write_text("\n".join(lines))
    plain = {name: value for name, value in os.environ.items() if "PREFECT" not in name}
    result = subprocess.run(
        [sys.executable, "-m", "deployments.deploy"],
        cwd=CHECKOUT,
        env={**plain, "PREFECT_PROFILES_PATH": str(tmp_path / "profiles.toml")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "the server refuses the automation" in result.stderr
    assert "work pool training: nobody executes runs of train-scenes/local" in result.stderr
    made = [
        body["name"]
        for method, path, body in requests
        if (method, path) == ("POST", "/deployments/")
    ]
    assert made == ["local", "slurm", "slurm", "slurm", "nightly"]


def test_a_key_that_is_refused_is_named(cloud):
    """With the way to log in again; nothing is asked but whether it counts."""
    url, requests = cloud
    with pytest.raises(FaultsError, match="PREFECT_API_KEY is refused") as caught:
        connect({"PREFECT_API_URL": url, "PREFECT_API_KEY": "old"})
    assert "prefect cloud login" in str(caught.value)
    assert {path for _, path, _ in requests} <= {"/health", "/admin/version"}
