"""Check prefect.yaml and deploy it: `python -m deployments.deploy [--reset] [FILE]`.

The server is the one that the user's Prefect settings name. What people edited or switched in the
UI stays, and schedules that they made there; `--reset` takes edited fields back to the file's.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    from preprocess.interpreter import FLOW, require

    require(FLOW)

import httpx

from deployments.api_client import connect
from deployments.check import FLOW_NAMES, PREFECT_FILE, Deployment, PrefectFile, load_prefect_file
from deployments.crash_automation import ensure_crash_automation
from deployments.edits import Description, last_deployed, merged, of_server, without_defaults
from deployments.pools import ensure_pools, warn_of_idle_pools
from deployments.request import described, request_of
from flows.server.settings import Settings, read_settings
from preprocess.faults import Fault, FaultsError
from training.system.console import say
from training.system.exit_status import DONE, FAILED, USAGE

RESET = "--reset"


def deploy(
    settings: Settings, path: Path = PREFECT_FILE, *, reset: bool = False, pools: Sequence[str] = ()
) -> PrefectFile:
    """Deploy everything in a file and return what it holds.

    A deployment changes in one request, after its schedules: whenever this ends, what people set is
    there. `pools` are work pools that are going to be served.

    Raises FaultsError, with nothing deployed, when the file is not valid or one of its steps fails;
    IncompleteDeployError when Prefect refuses a deployment, and httpx.HTTPError when the server
    fails, on the way.
    """
    found = load_prefect_file(path)
    with connect(settings) as client:
        wanted = [(each, *described(found, each)) for each in found.deployments]
        _mark_dead_runs(client)
        ensure_pools(client, settings, found.deployments, pools)
        has_kept = [_deploy(client, *each, reset=reset) for each in wanted]
        if any(has_kept):
            say(f"to have what prefect.yaml says instead: python -m deployments.deploy {RESET}")
        warn_of_idle_pools(client, found.deployments, pools)
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


def _deploy(
    client: httpx.Client,
    stanza: Deployment,
    wanted: Description,
    pull: list[dict[str, Any]],
    *,
    reset: bool,
) -> bool:
    """Create or update a deployment and say what people's edits became; return whether any stay.

    Raises IncompleteDeployError when Prefect refuses it.
    """
    name = stanza.full_name
    try:
        answer = client.get(f"/deployments/name/{name}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            _create(client, stanza, wanted, pull)
            return False
        there = answer.raise_for_status().json()
        base = last_deployed(there)
        current = without_defaults(of_server(there), there, base, wanted)
        result, edits = merged(base, current, wanted, reset=reset)
        _update_schedules(client, there, result["schedules"])
        body = request_of(stanza, pull, wanted, result)
        client.patch(f"/deployments/{there['id']}", json=body).raise_for_status()
    except httpx.HTTPStatusError as error:
        if not error.response.is_client_error:
            raise
        raise IncompleteDeployError([_refusal(name, error.response)]) from error
    for edit in edits:
        say(f"{name}: {edit}")
    return any(edit.is_kept for edit in edits)


def _create(
    client: httpx.Client, stanza: Deployment, wanted: Description, pull: list[dict[str, Any]]
) -> None:
    flow = {"name": FLOW_NAMES[stanza.entrypoint]}
    flow_id = client.post("/flows/", json=flow).raise_for_status().json()["id"]
    schedules = [_schedule(slug, each) for slug, each in wanted["schedules"].items()]
    own = {"name": stanza.name, "flow_id": flow_id, "schedules": schedules}
    body = {**own, **request_of(stanza, pull, wanted, wanted)}
    client.post("/deployments/", json=body).raise_for_status()


def _update_schedules(
    client: httpx.Client, there: Mapping[str, Any], wanted: Mapping[str, Mapping[str, Any]]
) -> None:
    """Make a deployment's schedules with slugs the wanted ones; people's own have none."""
    path = f"/deployments/{there['id']}/schedules"
    is_now, ids = (
        of_server(there)["schedules"],
        {each["slug"]: each["id"] for each in there["schedules"]},
    )
    for slug in is_now.keys() - wanted.keys():
        client.delete(f"{path}/{ids[slug]}").raise_for_status()
    for slug, each in wanted.items():
        if slug not in is_now:
            client.post(path, json=[_schedule(slug, each)]).raise_for_status()
        elif is_now[slug] != each:
            body = _schedule(slug, each)
            client.patch(f"{path}/{ids[slug]}", json=body).raise_for_status()


def _schedule(slug: str, wanted: Mapping[str, Any]) -> dict[str, Any]:
    when = {name: value for name, value in wanted.items() if name != "active"}
    return {"slug": slug, "schedule": when, "active": wanted["active"]}


def _refusal(name: str, answer: httpx.Response) -> Fault:
    try:
        reason = str(answer.json().get("detail") or answer.text)
    except ValueError:
        reason = answer.text
    return Fault(f"{name}: the server refuses it ({answer.status_code})", reason)


def main(argv: Sequence[str] | None = None) -> int:
    """Deploy; exit status 2 for faults, each printed with its remedy; 1 when the server fails."""
    parser = ArgumentParser(prog="python -m deployments.deploy", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=PREFECT_FILE, metavar="FILE")
    parser.add_argument(
        RESET,
        action="store_true",
        help="take back what was edited in the UI; switches and own schedules stay",
    )
    arguments = parser.parse_args(argv)
    try:
        found = deploy(read_settings(), arguments.file, reset=arguments.reset)
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
