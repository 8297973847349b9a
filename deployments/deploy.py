"""Check prefect.yaml and deploy it: `python -m deployments.deploy [FILE]`.

The server is the one that the user's Prefect settings name. Schedules that people switched on or
off, or made in the UI, stay as they are.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from deployments.api_client import connect
from deployments.check import PREFECT_FILE, PrefectFile, load_prefect_file
from deployments.crash_automation import ensure_crash_automation
from flows.form import form_schema
from flows.options import FlowOptions
from flows.parameters import form_values, option_values
from flows.server.settings import Settings, read_settings
from preprocess.faults import Fault, FaultsError
from preprocess.registry import load_scenes
from preprocess.roots import CHECKOUT
from training.plan.options import checked_options
from training.plan.train_script import given_path
from training.system.console import say
from training.system.exit_status import DONE, FAILED, USAGE

CLI_TIMEOUT_S = 300
POOL_TYPE = "process"
SHOWN_LINES = 8


def deploy(settings: Settings, path: Path = PREFECT_FILE) -> PrefectFile:
    """Deploy everything in a file and return what it holds.

    Raises FaultsError, with nothing deployed, when the file is not valid; IncompleteDeployError
    when Prefect refuses a deployment, and httpx.HTTPError when the server fails, on the way.
    However it ends, Ctrl-C included, the schedules that people set are restored.
    """
    found = load_prefect_file(path)
    with connect(settings) as client:
        _mark_dead_runs(client)
        pools = {each.work_pool.name for each in found.deployments}
        for pool in [pool for pool in pools if not _pool_exists(client, pool)]:
            _prefect(settings, "work-pool", "create", pool, "--type", POOL_TYPE)
        kept = {each.full_name: _schedules(client, each.full_name) for each in found.deployments}
        try:
            _prefect(settings, "deploy", "--all", "--prefect-file", str(path))
        except FaultsError as error:
            raise IncompleteDeployError(error.faults) from error
        finally:
            for name, schedules in kept.items():
                _complete(client, name, schedules)
    return found


class IncompleteDeployError(FaultsError):
    """Prefect refused a deployment after the file had passed our checks; some may be deployed."""


def _mark_dead_runs(client: httpx.Client) -> None:
    """Create the automation for dead runs; a server that refuses it is a warning."""
    try:
        ensure_crash_automation(client)
    except httpx.HTTPStatusError as error:
        if not error.response.is_client_error:
            raise
        refused = "warning: the server refuses the automation that marks runs of dead processes"
        say(f"{refused} Crashed ({error}): such runs stay Running", sys.stderr)


def _complete(client: httpx.Client, name: str, schedules: Sequence[dict[str, Any]]) -> None:
    """Add to a deployment, if it is there, what Prefect's deploy can't say or has replaced."""
    answer = client.get(f"/deployments/name/{name}")
    if answer.status_code == httpx.codes.NOT_FOUND:
        return
    deployment = answer.raise_for_status().json()
    _fit_form(client, deployment)
    _keep_schedules(client, deployment, schedules)


def _pool_exists(client: httpx.Client, name: str) -> bool:
    """Return whether the server has a work pool; raises FaultsError for one of another type."""
    answer = client.get(f"/work_pools/{name}")
    if answer.status_code == httpx.codes.NOT_FOUND:
        return False
    kind = answer.raise_for_status().json()["type"]
    if kind != POOL_TYPE:
        remedy = f"name another one in prefect.yaml; it must be of type {POOL_TYPE}"
        raise FaultsError([Fault(f"the work pool {name} is of another type", kind, remedy)])
    return True


def _schedules(client: httpx.Client, name: str) -> list[dict[str, Any]]:
    """Return a deployment's schedules on the server; none when it is new."""
    answer = client.get(f"/deployments/name/{name}")
    if answer.status_code == httpx.codes.NOT_FOUND:
        return []
    schedules: list[dict[str, Any]] = answer.raise_for_status().json()["schedules"]
    return schedules


def _fit_form(client: httpx.Client, deployment: dict[str, Any]) -> None:
    """Give a deployment a form of its own, which the server enforces whoever asks for a run."""
    given = deployment["parameters"]
    schema = form_schema(deployment["parameter_openapi_schema"], given, _scene_names(given))
    body = {"parameter_openapi_schema": schema, "parameters": form_values(given)}
    client.patch(f"/deployments/{deployment['id']}", json=body).raise_for_status()


def _scene_names(parameters: dict[str, Any]) -> list[str]:
    """Return the names of the scenes that a deployment may train; none when they can't be read."""
    try:
        options = checked_options(FlowOptions, {"exp_name": "any", **option_values(parameters)})
        return [scene.seq_name for scene in load_scenes(given_path(options, "scenes_dir"))]
    except FaultsError:  # each run says what is wrong with them
        return []


def _keep_schedules(
    client: httpx.Client, deployment: dict[str, Any], kept: Sequence[dict[str, Any]]
) -> None:
    """Restore a deployment's switches, and the schedules that people made in the UI.

    Prefect's deploy replaces all schedules by those of the file, which have slugs.
    """
    path = f"/deployments/{deployment['id']}/schedules"
    switches = {each["slug"]: each["active"] for each in kept if each["slug"]}
    for each in deployment["schedules"]:
        wanted = switches.get(each["slug"], each["active"])
        if wanted != each["active"]:
            client.patch(f"{path}/{each['id']}", json={"active": wanted}).raise_for_status()
    there = {each["id"] for each in deployment["schedules"]}
    own = [each for each in kept if not each["slug"] and each["id"] not in there]
    if own:
        keys = ("schedule", "active", "parameters")
        again = [{key: each[key] for key in keys} for each in own]
        client.post(path, json=again).raise_for_status()


def _prefect(settings: Settings, *arguments: str) -> None:
    """Run Prefect's command line; raises FaultsError with the last lines of its output."""
    result = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", *arguments],
        cwd=CHECKOUT,  # where the user's own settings files may not be found
        env={**settings, **os.environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=CLI_TIMEOUT_S,
        check=False,
    )
    if result.returncode != 0:
        lines = [line.strip() for line in result.stdout.splitlines() if line.strip()]
        what = f"prefect {' '.join(arguments)} failed (status {result.returncode})"
        raise FaultsError([Fault(what, "\n".join(lines[-SHOWN_LINES:]))])


def main(argv: Sequence[str] | None = None) -> int:
    """Deploy; exit status 2 for faults, each printed with its remedy; 1 when the server fails."""
    arguments = sys.argv[1:] if argv is None else argv
    path = Path(arguments[0]) if arguments else PREFECT_FILE
    try:
        found = deploy(read_settings(), path)
    except IncompleteDeployError as error:
        say(f"not everything was deployed:\n{error}", sys.stderr)
        return FAILED
    except FaultsError as error:
        say(f"nothing was deployed:\n{error}", sys.stderr)
        return USAGE
    except httpx.HTTPError as error:
        say(f"not everything was deployed, Prefect's server failed: {error}", sys.stderr)
        return FAILED
    say(f"deployed: {', '.join(each.full_name for each in found.deployments)}")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
