"""Plans of scenes with any script, and threads that keep a supervisor."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from training.plan.model import ScenePlan


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("warm")


@pytest.fixture(scope="module")
def scene(folder):
    """Return a function that makes the plan of a scene, with a script and its arguments."""
    numbers = iter(range(1000))

    def make(script, *arguments, warm_start=True, state="state", **environment):
        name = f"scene{next(numbers)}"
        output = folder / name
        variables = {
            "TS_OUT": str(output),
            "TS_SCENE_NAME": "s",
            "TS_STATE_ROOT": str(folder / state),
        }
        output.mkdir()
        return ScenePlan(
            name=name,
            exp_name="exp",
            scene={},
            scene_file=folder / "scene.json",
            action="run",
            reason="new",
            command=(sys.executable, str(script), *arguments),
            environment=variables | environment,
            output=output,
            fingerprint="f",
            expected_outputs=(),
            time_limit_s=60,
            kill_grace_s=5,
            warm_start=warm_start,
            cancelled=folder / "cancelled",
        )

    return make


@pytest.fixture(scope="module")
def threads():
    """Two threads, each of which keeps a supervisor as a launcher's do."""
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        yield one, other


@pytest.fixture
def thread():
    """One thread whose supervisor has started nothing yet."""
    with ThreadPoolExecutor(1) as pool:
        yield pool
