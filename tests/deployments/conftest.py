"""`python -m deployments.serve` as a user runs it, once for all tests of this folder."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prefect_database import put_migrated_database

from flows.server.external_api import ApiClient, api_client

CHECKOUT = Path(__file__).resolve().parents[2]
STAND_IN = CHECKOUT / "tests" / "stand_in_trainer.py"
PATIENT_S = 150
"""Longer than the minute that Prefect's SQLite waits for its lock, and the client with it."""
BOUND_S = 90
"""Half a minute, and the minute that Prefect's SQLite may wait for its lock."""
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
QUICK = {
    "PREFECT_WORKER_QUERY_SECONDS": "1",
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "1",
}


def wait_for(condition, what, deadline_s=PATIENT_S):
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {deadline_s} s for {what}"
        time.sleep(0.1)
    return value


@dataclass
class Served:
    """A place of its own with two scenes, and the command that serves it."""

    root: Path
    process: subprocess.Popen[str] | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        plain = {key: value for key, value in os.environ.items() if "PREFECT" not in key}
        self.environment = {
            **plain,
            **QUICK,
            "PREFECT_PROFILES_PATH": os.devnull,  # not the developer's
            "TS_RESULTS_ROOT": str(self.root / "results"),
            "TS_SCENE_DATA_ROOT": str(self.root / "scenes"),
            "TS_STATE_ROOT": str(self.root / "state"),
            "CUDA_VISIBLE_DEVICES": "",
        }
        put_migrated_database(self.root / "state" / "prefect" / f"{socket.gethostname()}-ui")
        (self.root / "registry").mkdir()
        for name in ("a_1", "a_2"):
            scene = json.dumps({"seq_name": name, "cam_id": 28})
            (self.root / "registry" / f"{name}.json").write_text(scene)

    @property
    def folder(self) -> Path:
        (found,) = (self.root / "state" / "prefect").glob("*-ui")
        return found

    @property
    def password(self) -> str:
        return (self.folder / "password").read_text().strip()

    @property
    def url(self) -> str:
        return (self.folder / "address").read_text().split()[0] + "/api"

    def ensure_running(self) -> None:
        if self.process is None or self.process.poll() is not None:
            self.start()

    def start(self) -> None:
        """Serve; return when it says where the UI is."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "deployments.serve"],
            cwd=CHECKOUT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=(self.root / "out.txt").open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        wait_for(lambda: "Ctrl-C" in self.said() or self.process.poll() is not None, "the UI", 180)
        assert self.process.poll() is None, self.said()

    def said(self) -> str:
        return (self.root / "out.txt").read_text()

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run another command of the same user, whose Prefect profile names this server."""
        home = self.root / "home"
        home.mkdir(exist_ok=True)
        lines = [f'{name} = "{value}"' for name, value in self.settings.items()]
        profile = ['active = "lab"', "[profiles.lab]", *lines, ""]
        (home / "profiles.toml").write_text("\n".join(profile))
        named = {"PREFECT_HOME": str(home), "PREFECT_PROFILES_PATH": str(home / "profiles.toml")}
        return subprocess.run(
            [sys.executable, "-m", *words],
            cwd=CHECKOUT,
            env={**self.environment, **named},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    @property
    def settings(self) -> dict[str, str]:
        """Prefect's settings of a user who has named this server."""
        return {"PREFECT_API_URL": self.url, "PREFECT_API_AUTH_STRING": self.password}

    def client(self) -> ApiClient:
        return api_client(self.url, self.settings)

    def ask(self, method: str, path: str, **body: Any) -> httpx.Response:
        """Return the server's answer; the request is repeated while its database is busy."""
        with self.client() as client:
            answer = client.request(method, path, json=body or None)
        assert answer.status_code < 500, answer.text
        return answer

    def deployment(self, name: str) -> dict[str, Any]:
        return self.ask("GET", f"/deployments/name/{name}").json()

    def parameters(self, exp_name: str, **more: Any) -> dict[str, Any]:
        place = {"scenes_dir": str(self.root / "registry"), "train_script": str(STAND_IN)}
        return {"exp_name": exp_name, **place, "kill_grace": 1, **more}

    def submit(self, name: str, tags: Sequence[str] = (), **parameters: Any) -> httpx.Response:
        """Create a run as the form does."""
        path = f"/deployments/{self.deployment(name)['id']}/create_flow_run"
        given = {"parameters": parameters, "tags": list(tags)}
        return self.ask("POST", path, **given, state={"type": "SCHEDULED"})

    def state(self, run_id: str) -> dict[str, Any]:
        return self.ask("GET", f"/flow_runs/{run_id}").json()["state"]

    def log(self, run_id: str) -> list[str]:
        """Return the messages of a run's log."""
        wanted = {"flow_run_id": {"any_": [run_id]}}
        found = self.ask("POST", "/logs/filter", logs=wanted, sort="TIMESTAMP_ASC").json()
        return [each["message"] for each in found]

    def ended(self, run_id: str, deadline_s: float = PATIENT_S) -> dict[str, Any]:
        """Wait for the end of a run; return its final state."""
        wait_for(lambda: self.state(run_id)["type"] in FINAL, "the run's end", deadline_s)
        return self.state(run_id)

    def output(self, scene: str, exp_name: str) -> Path:
        return self.root / "results" / scene / exp_name

    def causes(self, scene: str, exp_name: str) -> list[str]:
        record = json.loads((self.output(scene, exp_name) / "run.json").read_text())
        return [attempt["cause"] for attempt in record["attempts"]]

    def hanging_run(self, exp_name: str) -> str:
        """Start a run whose first trainer hangs; return its id once the trainer runs."""
        overrides = ["do=hang", "only=a_1"]
        run = self.submit("train-scenes/local", **self.parameters(exp_name, overrides=overrides))
        wait_for((self.output("a_1", exp_name) / "ready.txt").exists, "the trainer")
        return run.json()["id"]

    def left(self) -> list[psutil.Process]:
        """Return the living processes of this place."""
        found = []
        for process in psutil.process_iter():
            try:
                is_ours = (
                    process.environ().get("TS_STATE_ROOT") == self.environment["TS_STATE_ROOT"]
                )
                if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def close(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=PATIENT_S)
        for process in self.left():
            process.kill()


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    made = Served(tmp_path_factory.mktemp("served"))
    yield made
    made.close()


@pytest.fixture
def served(place):
    """It is running; a test that has ended it costs the next one a start."""
    place.ensure_running()
    return place


@pytest.fixture
def end_of_all(served) -> Callable[[int], int]:
    """End the command by a signal while a trainer runs; check that nothing goes on or says so.

    Returns its exit status.
    """

    def end(number: int) -> int:
        exp_name = f"end_{number}"
        run = served.hanging_run(exp_name)
        os.kill(served.process.pid, number)
        status = served.process.wait(timeout=PATIENT_S)
        wait_for(lambda: not served.left(), "their end", BOUND_S)
        assert served.causes("a_1", exp_name) == ["cancelled"]
        with sqlite3.connect(served.folder / "prefect.db") as database:
            states = database.execute("select state_type from flow_run where id = ?", (run,))
            assert states.fetchone() == ("CANCELLED",)
        return status

    return end


@pytest.fixture
def eventually():
    """Wait for a condition with a deadline that outlasts a server waiting for its database."""
    return wait_for
