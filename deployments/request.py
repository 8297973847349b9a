"""What the server is sent of a deployment.

Prefect is imported by the functions, when its settings have been read and found valid.
"""

from __future__ import annotations

import contextlib
import functools
import json
from typing import Any

from deployments.check import Deployment, PrefectFile
from deployments.edits import KEPT_AS, Description, of_file
from deployments.scene_menus import scene_names, scenes_folder
from flows.form import form_schema
from flows.parameters import with_flow_parameters
from preprocess.faults import FaultsError
from preprocess.roots import CHECKOUT

CHECK_STEP = "deployments.check.as_build_step"


def described(file: PrefectFile, stanza: Deployment) -> tuple[Description, list[dict[str, Any]]]:
    """Run a deployment's build and push steps; return its description and its pull steps.

    Steps that several deployments share run once a process. Raises FaultsError when one fails.
    """
    from flows.adapters.prefect_deploy_adapter import fill_in

    own = (stanza.build, stanza.push, stanza.pull)
    build, push, pull = (
        default if given is None else given
        for given, default in zip(own, (file.build, file.push, file.pull), strict=True)
    )
    outputs = _outputs_of(json.dumps([*build, *push]))
    filled = fill_in({"description": of_file(stanza), "pull": pull}, outputs)
    return filled["description"], filled["pull"]


@functools.cache
def _outputs_of(steps: str) -> dict[str, Any]:
    """Return what steps have made, by step id; our check, which is done already, is not run."""
    from flows.adapters.prefect_deploy_adapter import run_deploy_steps

    outputs: dict[str, Any] = {}
    others = []
    for step in json.loads(steps):
        if CHECK_STEP in step:
            outputs[step[CHECK_STEP]["id"]] = {"checkout": str(CHECKOUT)}
        else:
            others.append(step)
    if others:
        with contextlib.chdir(CHECKOUT):  # as `prefect deploy` from the repository's root
            outputs |= run_deploy_steps(others, outputs)
    return outputs


def request_of(
    stanza: Deployment, pull: list[dict[str, Any]], deployed: Description, result: Description
) -> dict[str, Any]:
    """Return the body of a request that makes a deployment what `result` says.

    `deployed` is kept beside the schema of the form, which the server enforces whoever asks for a
    run.
    """
    given = result.get("parameters", {})
    schema = {**form_schema(_flow_schema(), given, _scene_names(given)), KEPT_AS: deployed}
    concurrency = dict(result.get("concurrency", {}))
    limit = concurrency.pop("limit", None)
    return {
        "entrypoint": stanza.entrypoint,
        "pull_steps": pull,
        "parameter_openapi_schema": schema,
        "enforce_parameter_schema": True,
        "description": result.get("description", ""),
        "tags": result.get("tags", []),
        "parameters": given,
        "work_pool_name": result["work_pool"],
        "work_queue_name": result["work_queue"],
        "job_variables": result.get("job_variables", {}),
        "paused": result.get("paused", False),
        "concurrency_limit": limit,
        "concurrency_options": concurrency or None,
        **({"version": stanza.version} if stanza.version else {}),
    }


@functools.cache
def _flow_schema() -> dict[str, Any]:
    from flows.adapters.prefect_deploy_adapter import parameter_schema_of

    @with_flow_parameters
    def flow(**_: Any) -> None: ...

    return parameter_schema_of(flow)


def _scene_names(parameters: dict[str, Any]) -> list[str]:
    """Return the names of the scenes that a deployment may train; none when they can't be read."""
    try:
        return scene_names(scenes_folder(parameters))
    except FaultsError:  # each run says what is wrong with them
        return []
