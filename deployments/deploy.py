"""Check prefect.yaml and deploy it: `python -m deployments.deploy [FILE]`.

The server is PREFECT_API_URL's. Schedules that people switched on or off, or made in the UI, stay.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from deployments.api_client import api_client
from deployments.check import PREFECT_FILE, PrefectFile, checked_file
from deployments.crash_automation import settle_automation
from preprocess.faults import Fault, FaultsError
from preprocess.roots import CHECKOUT
from training.system.console import say

CLI_TIMEOUT_S = 300
POOL_TYPE = "process"
LAST_WORDS = 8


def deploy(path: Path = PREFECT_FILE, environ: Mapping[str, str] = os.environ) -> PrefectFile:
    """Deploy all of a file; what it holds.

    Raises FaultsError, with nothing deployed, when the file is not sound or Prefect refuses it.
    """
    found = checked_file(path)
    with api_client(environ) as client:
        for pool in {each.work_pool.name for each in found.deployments}:
            _settle_pool(client, pool, environ)
        kept = {each.full_name: _schedules(client, each.full_name) for each in found.deployments}
        _prefect(environ, "deploy", "--all", "--prefect-file", str(path))
        for name, schedules in kept.items():
            deployment = client.get(f"/deployments/name/{name}").raise_for_status().json()
            _refuse_unknown_parameters(client, deployment)
            _keep_schedules(client, deployment, schedules)
        settle_automation(client)
    return found


def _settle_pool(client: httpx.Client, name: str, environ: Mapping[str, str]) -> None:
    """Make the work pool where there is none."""
    answer = client.get(f"/work_pools/{name}")
    if answer.status_code == httpx.codes.NOT_FOUND:
        _prefect(environ, "work-pool", "create", name, "--type", POOL_TYPE)
        return
    kind = answer.raise_for_status().json()["type"]
    if kind != POOL_TYPE:
        remedy = f"name another one in prefect.yaml; it must be of type {POOL_TYPE}"
        raise FaultsError([Fault(f"the work pool {name} is of another type", kind, remedy)])


def _schedules(client: httpx.Client, name: str) -> list[dict[str, Any]]:
    """A deployment's schedules on the server; none where it is new."""
    answer = client.get(f"/deployments/name/{name}")
    if answer.status_code == httpx.codes.NOT_FOUND:
        return []
    schedules: list[dict[str, Any]] = answer.raise_for_status().json()["schedules"]
    return schedules


def _refuse_unknown_parameters(client: httpx.Client, deployment: dict[str, Any]) -> None:
    """Have the server refuse a misspelt parameter; else the run is made, and crashes."""
    schema = {**deployment["parameter_openapi_schema"], "additionalProperties": False}
    body = {"parameter_openapi_schema": schema}
    client.patch(f"/deployments/{deployment['id']}", json=body).raise_for_status()


def _keep_schedules(
    client: httpx.Client, deployment: dict[str, Any], kept: Sequence[dict[str, Any]]
) -> None:
    """Give a deployment the switches it had, and the schedules that people made in the UI.

    Prefect's deploy replaces all schedules by the file's, which have slugs.
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


def _prefect(environ: Mapping[str, str], *arguments: str) -> None:
    """Run Prefect's command line; raises FaultsError with its last words."""
    result = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", *arguments],
        cwd=CHECKOUT,
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=CLI_TIMEOUT_S,
        check=False,
    )
    if result.returncode != 0:
        words = [line.strip() for line in result.stdout.splitlines() if line.strip()]
        what = f"prefect {' '.join(arguments)} failed (status {result.returncode})"
        raise FaultsError([Fault(what, "\n".join(words[-LAST_WORDS:]))])


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 2 for a fault, each told with its remedy; 1 when the server fails."""
    arguments = sys.argv[1:] if argv is None else argv
    path = Path(arguments[0]) if arguments else PREFECT_FILE
    try:
        found = deploy(path)
    except FaultsError as error:
        say(f"nothing was deployed:\n{error}", sys.stderr)
        return 2
    except httpx.HTTPError as error:
        say(f"not all was deployed, Prefect's server failed: {error}", sys.stderr)
        return 1
    say(f"deployed: {', '.join(each.full_name for each in found.deployments)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
