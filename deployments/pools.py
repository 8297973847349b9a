"""The deployments' work pools: made where they are missing, named where nobody serves them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection, Sequence

import httpx

from deployments.check import Deployment, pools_of, unserved_notes
from flows.server.settings import Settings
from preprocess.faults import Fault, FaultsError
from preprocess.roots import CHECKOUT
from training.system.console import say

CLI_TIMEOUT_S = 300
POOL_TYPE = "process"
SHOWN_LINES = 8
WITHOUT_WORKER = (":push", ":managed")
"""How the types of pools end whose runs need no worker."""


def ensure_pools(
    client: httpx.Client,
    settings: Settings,
    deployments: Sequence[Deployment],
    served: Sequence[str] = (),
) -> None:
    """Make the work pools that are missing, of type process, also those that will be served here.

    Raises FaultsError for a pool of another type that is to be served here, or that runs without
    pull steps of their own: they find no checkout.
    """
    wanted = pools_of(deployments)
    types = {name: _type(client, name) for name in dict.fromkeys([*served, *wanted])}
    faults = [
        _unservable(name, types[name]) for name in served if types[name] not in (None, POOL_TYPE)
    ]
    for name, kind in types.items():
        if kind not in (None, POOL_TYPE):
            faults += [_no_code(each, kind) for each in wanted.get(name, ()) if each.pull is None]
    if faults:
        raise FaultsError(faults)
    for name in (name for name, kind in types.items() if kind is None):
        _prefect(settings, "work-pool", "create", name, "--type", POOL_TYPE)


def warn_of_idle_pools(
    client: httpx.Client, deployments: Sequence[Deployment], served: Collection[str]
) -> None:
    """Warn about work pools that have no worker now, apart from those that will be served here."""
    busy = [name for name in pools_of(deployments) if name in served or _has_worker(client, name)]
    for note in unserved_notes(deployments, busy):
        say(f"warning: {note}", sys.stderr)


def _type(client: httpx.Client, name: str) -> str | None:
    answer = client.get(f"/work_pools/{name}")
    if answer.status_code == httpx.codes.NOT_FOUND:
        return None
    return str(answer.raise_for_status().json()["type"])


def _has_worker(client: httpx.Client, name: str) -> bool:
    """Return whether runs of a pool are executed; yes where the server does not say."""
    if (_type(client, name) or "").endswith(WITHOUT_WORKER):
        return True
    body = {"workers": {"status": {"any_": ["ONLINE"]}}}
    answer = client.post(f"/work_pools/{name}/workers/filter", json=body)
    return answer.is_client_error or bool(answer.raise_for_status().json())


def _unservable(name: str, kind: str | None) -> Fault:
    remedy = f"start a worker of its type: prefect worker start --pool {name}"
    return Fault(
        f"the work pool {name} can't be served here, it is of another type", str(kind), remedy
    )


def _no_code(stanza: Deployment, kind: str | None) -> Fault:
    what = f"{stanza.full_name}: runs in a work pool of type {kind} don't find this checkout"
    remedy = "give the stanza pull steps of its own, see docs/server.md"
    return Fault(what, str(CHECKOUT), remedy)


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
