"""Work pools of every type, and those that nobody serves, against an imitation of the server."""

from __future__ import annotations

import json

import httpx
import pytest
from prefect.deployments.steps import core

from deployments import POOL, pools
from deployments.check import PREFECT_FILE, load_prefect_file, main
from deployments.request import described, request_of
from preprocess.faults import FaultsError

OWN_STEPS = """work_pool: {name: cluster, job_variables: {image: "{{ image.name }}"}}
    build:
      - deployments.check.as_build_step: {id: checked, file: FILE}
      - prefect.deployments.steps.run_shell_script: {id: image, script: echo name}
    pull:
      - prefect.deployments.steps.set_working_directory: {directory: /srv/code}
"""


@pytest.fixture
def file_with(tmp_path):
    """The shipped file with another last line for its last deployment."""

    def write(last: str):
        copy = tmp_path / "prefect.yaml"
        text = PREFECT_FILE.read_text(encoding="utf-8")
        head, pool, tail = text.rpartition("work_pool: *pool")
        assert pool
        assert not tail.strip()
        copy.write_text(head + last.replace("FILE", str(copy)), encoding="utf-8")
        return copy

    return write


def server(types: dict[str, str], workers: int = 200, online: tuple[str, ...] = ()):
    """A client of a server with these pools, whose question for workers ends with `workers`."""

    def answer(request: httpx.Request) -> httpx.Response:
        name = request.url.path.split("/")[2]
        if request.url.path.endswith("/workers/filter"):
            assert json.loads(request.content)["workers"]["status"] == {"any_": ["ONLINE"]}
            return httpx.Response(workers, json=[{}] if name in online else [])
        known = name in types
        return httpx.Response(200 if known else 404, json={"type": types.get(name)})

    return httpx.Client(base_url="http://pools", transport=httpx.MockTransport(answer))


def test_runs_elsewhere_need_code_of_their_own(file_with):
    """A Kubernetes pool is taken by a stanza with pull steps, and refused without."""
    client = server({POOL: "process", "cluster": "kubernetes"})
    without = load_prefect_file(file_with("work_pool: {name: cluster}\n")).deployments
    with pytest.raises(FaultsError) as caught:
        pools.ensure_pools(client, {}, without)
    assert "train-scenes/nightly: runs in a work pool of type kubernetes" in str(caught.value)
    assert "pull steps of its own" in str(caught.value)
    own = load_prefect_file(file_with(OWN_STEPS)).deployments
    pools.ensure_pools(client, {}, own)
    with pytest.raises(FaultsError, match="cluster can't be served here"):
        pools.ensure_pools(client, {}, own, ["cluster"])


def test_a_stanzas_own_steps_reach_the_server(file_with, monkeypatch):
    """Its pull step, and what its build step has made as a job variable."""
    ran = []
    monkeypatch.setattr(
        "flows.adapters.prefect_deploy_adapter.run_deploy_steps",
        lambda steps, _: ran.extend(steps) or {"image": {"name": "lab/name"}},
    )
    file = load_prefect_file(file_with(OWN_STEPS))
    first, last = (described(file, file.deployments[index]) for index in (0, -1))
    wanted, pull = last
    body = request_of(file.deployments[-1], pull, wanted, wanted)
    assert body["job_variables"] == {"image": "lab/name"}
    (step,) = body["pull_steps"]
    assert step["prefect.deployments.steps.set_working_directory"] == {"directory": "/srv/code"}
    assert first[1] != pull
    assert [list(each) for each in ran] == [["prefect.deployments.steps.run_shell_script"]]
    assert body["parameter_openapi_schema"]["additionalProperties"] is False


def test_a_step_that_fails_is_a_fault(file_with, monkeypatch):
    """With its name and what was wrong, not a traceback."""

    async def run_steps(*_, **__):
        raise core.StepExecutionError("while running run_shell_script") from OSError("no docker")

    monkeypatch.setattr(core, "run_steps", run_steps)
    file = load_prefect_file(file_with(OWN_STEPS))
    with pytest.raises(FaultsError, match="while running run_shell_script: no docker"):
        described(file, file.deployments[-1])


@pytest.mark.parametrize(
    ("types", "served", "told"),
    [
        ({POOL: "process", "cluster": "process"}, [POOL], True),
        ({POOL: "process", "cluster": "process"}, [POOL, "cluster"], False),
        ({POOL: "process", "cluster": "ecs:push"}, [POOL], False),
    ],
)
def test_a_pool_that_nobody_serves_is_named(file_with, capsys, types, served, told):
    """With the deployments whose runs would wait, and both ways to serve it."""
    found = load_prefect_file(file_with(OWN_STEPS)).deployments
    pools.warn_of_idle_pools(server(types), found, served)
    said = capsys.readouterr().err
    assert ("work pool cluster: nobody executes runs of train-scenes/nightly" in said) is told
    assert ("--pool cluster" in said) is told
    pools.warn_of_idle_pools(server(types, online=("cluster",)), found, [POOL])
    pools.warn_of_idle_pools(server(types, workers=403), found, [POOL])
    assert capsys.readouterr().err == ""


def test_the_check_names_pools_that_need_a_worker(file_with, capsys):
    """It asks no server."""
    assert main([str(file_with(OWN_STEPS))]) == 0
    assert "work pool cluster: nobody executes runs of" in capsys.readouterr().out
    assert main([]) == 0
    assert "work pool" not in capsys.readouterr().out
