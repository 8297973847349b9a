"""What every test may use: temporary roots, scene files, a stand-in trainer, waiting."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import pytest
from prefect_database import put_migrated_database

from preprocess.torch_adapter import defer_compiler
from tests.faults.cells import CELLS, collect
from training.system.typed_command import set_program

CHECKOUT = Path(__file__).resolve().parent.parent
STAND_IN = Path(__file__).resolve().parent / "stand_in_trainer.py"
DEADLINE_S = 60
LONG_FIRST = (
    "slurm",
    "deployments",
    "faults",
    "flows",
    "docs",
    "training",
    "contracts",
    "preprocess",
)
"""Folders by how long their files take: of two processes none is left alone with a long one."""
SERVER_FIXTURES = {"prefect_api", "prefect_server", "place", "served"}
"""Fixtures that start a Prefect server: their tests are marked `server`."""
TRAINING_FIXTURES = {"built", "difix", "difix_built", "difix_made", "shards", "tiny_scene"}
"""Fixtures of tests that start the bundled trainer: they are marked `training`."""

# A thousand processes start: none compiles our modules again, whatever the developer has set.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
defer_compiler()
# No test meets the server that the developer's own variables or Prefect profile name.
for _name in [each for each in os.environ if each.startswith("PREFECT_")]:
    del os.environ[_name]
os.environ["PREFECT_PROFILES_PATH"] = os.devnull
# No test waits for the rasterizer's compilation, which each state root of its own would begin with.
os.environ.setdefault("NUMBA_CACHE_DIR", str(CHECKOUT / ".pytest_cache" / "numba"))


@pytest.hookimpl(tryfirst=True)  # before -m and -k deselect any
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    config.stash[CELLS] = collect(items)

    def rank(item: pytest.Item) -> int:
        folder = item.path.relative_to(CHECKOUT / "tests").parts[0]
        return (*LONG_FIRST, folder).index(folder)

    items.sort(key=rank)
    for item in items:
        if SERVER_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("server")
        if TRAINING_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("training")
        if "lab" in getattr(item, "fixturenames", ()):
            item.add_marker("processes")


@pytest.fixture(autouse=True)
def _no_program_of_another_test() -> None:
    """Begin as a fresh process does: the console command, called in this one, names itself."""
    set_program("")


def wait_for(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """The condition's first true value; fails the test when the deadline passes.

    What a condition costs is not asked for all the time: the tests share two cores.
    """
    end = time.monotonic() + deadline_s
    while True:
        began = time.monotonic()
        if value := condition():
            return value
        if time.monotonic() > end:
            pytest.fail(f"waited {deadline_s} s for {what}")
        time.sleep(max(0.02, 3 * (time.monotonic() - began)))


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _text(stream: io.TextIOWrapper) -> str:
    """What was written to a stream that `Lab.call` has made."""
    stream.seek(0)
    return stream.read()


@dataclass
class Lab:
    """A user's place: scene files, roots, and the launcher to call."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def scenes_dir(self) -> Path:
        return self.root / "registry"

    def add_scene(self, name: str, cam_id: int = 28, **more: Any) -> Path:
        path = self.scenes_dir / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"seq_name": name, "cam_id": cam_id, **more}), encoding="utf-8")
        return path

    def output(self, scene: str, exp_name: str = "exp") -> Path:
        return self.root / "results" / scene / exp_name

    def let_go(self, scene: str, exp_name: str = "exp") -> None:
        """Have a trainer that waits end well; one that has not begun yet will not wait."""
        output = self.output(scene, exp_name)
        output.mkdir(parents=True, exist_ok=True)
        (output / "go.txt").touch()

    def heal(self, scene: str) -> None:
        """Have a trainer end well from its next start on, whatever it was told to do."""
        (self.output(scene) / "healed").touch()

    def record(self, scene: str, exp_name: str = "exp") -> dict[str, Any]:
        return json.loads((self.output(scene, exp_name) / "run.json").read_text(encoding="utf-8"))

    def causes(self, scene: str) -> list[str]:
        return [attempt["cause"] for attempt in self.record(scene)["attempts"]]

    def starts(self, scene: str) -> list[str]:
        path = self.output(scene) / "starts.txt"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def arguments(self, *flags: str, stand_in: bool = True) -> list[str]:
        own = ["--exp-name", "exp", "--scenes-dir", str(self.scenes_dir)]
        return [*own, *(["--train-script", str(STAND_IN)] if stand_in else []), *flags]

    def popen(self, *flags: str, program: tuple[str, ...] = ("training/run.py",), **more: Any):
        process = subprocess.Popen(
            [sys.executable, *program, *self.arguments(*flags, **more)],
            cwd=CHECKOUT,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def run(self, *flags: str, **more: Any) -> subprocess.CompletedProcess[str]:
        process = self.popen(*flags, **more)
        out, err = process.communicate(timeout=DEADLINE_S * 2)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def call(self, *flags: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run the launcher in this process, which saves its start, where nobody is to stop it."""
        from training.report import report_client
        from training.run import main

        with report_client._lock:
            report_client._take()  # before the lab's variables are set: labs to come use it too
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2))
        with (
            mock.patch.dict(os.environ, self.environment),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            status = main(self.arguments(*flags, **more))
        for note in (self.root / "state" / "plans").glob("*.launcher"):
            if json.loads(note.read_text(encoding="utf-8"))["pid"] == os.getpid():
                note.unlink()  # that launcher has ended, though its process lives on
        return subprocess.CompletedProcess(flags, status, _text(out), _text(err))

    def strays(self) -> list[psutil.Process]:
        """Processes that know this lab's folder."""
        own = str(self.root)
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if own in process.environ().get("TS_RESULTS_ROOT", ""):
                    found.append(process)
        return found

    def close(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=DEADLINE_S)
        for stray in self.strays():
            with contextlib.suppress(psutil.Error):
                stray.kill()


@contextlib.contextmanager
def lab_in(root: Path) -> Iterator[Lab]:
    """A lab with its roots in a folder; its processes end with it."""
    made = Lab(root)
    made.environment = {
        "TS_RESULTS_ROOT": str(root / "results"),
        "TS_SCENE_DATA_ROOT": str(root / "scenes"),
        "TS_STATE_ROOT": str(root / "state"),
        "PREFECT_HOME": str(root / "prefect"),
        "CUDA_VISIBLE_DEVICES": "",
    }
    yield made
    made.close()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A place of one's own with no scene yet."""
    with lab_in(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def make_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Lab]]:
    """Make places that tests of one file share."""
    with contextlib.ExitStack() as labs:
        yield lambda: labs.enter_context(lab_in(tmp_path_factory.mktemp("lab")))


@pytest.fixture(scope="module")
def module_lab(make_lab: Callable[[], Lab]) -> Lab:
    """A place that the tests of one file share."""
    return make_lab()


@dataclass(frozen=True)
class PrefectApi:
    """A running Prefect server, and what it says."""

    url: str

    @cached_property
    def client(self) -> Any:
        from flows.server.external_api import api_client

        return api_client(self.url, {})

    def ask(self, path: str, **body: Any) -> Any:
        """The JSON that a GET, or a POST of `body`, answers."""
        answer = self.client.post(path, json=body) if body else self.client.get(path)
        return answer.raise_for_status().json()

    def runs(self, exp_name: str) -> list[dict[str, Any]]:
        """The flow runs with that name."""
        return self.ask("/flow_runs/filter", flow_runs={"name": {"any_": [exp_name]}})

    def only_run(self, exp_name: str) -> dict[str, Any]:
        """The one flow run with that name."""
        (run,) = self.runs(exp_name)
        return run

    def task_runs(self, run: dict[str, Any]) -> dict[str, dict[str, Any]]:
        found = self.ask("/task_runs/filter", flow_runs={"id": {"any_": [run["id"]]}})
        return {each["name"]: each for each in found}

    def scene_states(self, exp_name: str) -> dict[str, str]:
        """The states of the task runs of the newest flow run with that name, in lower case."""
        newest = max(self.runs(exp_name), key=lambda run: run["created"])
        found = self.task_runs(newest)
        return {name: each["state"]["type"].lower() for name, each in found.items()}

    def parents(self, run: dict[str, Any], name: str) -> set[str]:
        """Ids of the task runs with an edge in the flow run's graph to that of a name."""
        graph = self.ask(f"/flow_runs/{run['id']}/graph-v2")
        nodes = {node["label"]: node for _, node in graph["nodes"]}
        return {parent["id"] for parent in nodes[name]["parents"]}

    def artifacts(self, run: dict[str, Any]) -> dict[str, str]:
        """Of a flow run, by kind: the latest of each key, of which the run has made no other."""
        wanted = {"flow_runs": {"id": {"any_": [run["id"]]}}}
        made = {each["id"] for each in self.ask("/artifacts/filter", **wanted)}
        latest = self.ask("/artifacts/latest/filter", **wanted)
        assert made <= {each["latest_id"] for each in latest}  # one may be made in between
        return {each["key"].split("-")[-2]: each["data"] for each in latest}

    def logs(self, run: dict[str, Any]) -> list[str]:
        """What the log of a flow run says, its task runs' too."""
        found = self.ask("/logs/filter", logs={"flow_run_id": {"any_": [run["id"]]}})
        return [each["message"] for each in found]

    def answers(self) -> bool:
        from flows.server.external_api import check_reachable
        from preprocess.faults import FaultsError

        with contextlib.suppress(FaultsError):
            check_reachable(self.url, {})
            return True
        return False


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectApi]:
    """The one Prefect server of this pytest process, run as a lab would run it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    home, api = tmp_path_factory.mktemp("prefect"), PrefectApi(f"http://127.0.0.1:{port}/api")
    put_migrated_database(home)
    environment = {**os.environ, "PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "0"}
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    wait_for(lambda: server.poll() is not None or api.answers(), "Prefect's server", 120)
    assert server.poll() is None, (home / "log").read_text()
    yield api
    for process in [*psutil.Process(server.pid).children(recursive=True), server]:
        process.terminate()
    server.wait(timeout=30)


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """Wait for a condition with a deadline: `eventually(condition, "what")`."""
    return wait_for


@pytest.fixture
def alive() -> Callable[[int], bool]:
    """Whether a process runs."""
    return is_alive
