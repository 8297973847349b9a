"""The menus of scenes in the deployments' forms: kept current while `serve` runs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from deployments.check import FLOW_NAMES
from flows.form import with_scene_menu
from flows.options import FlowOptions
from flows.parameters import option_values
from flows.server.external_api import CHECK_S, api_client
from flows.server.settings import API_URL, Settings
from preprocess.faults import FaultsError
from preprocess.registry import SUFFIX, load_scenes
from training.plan.options import checked_options
from training.plan.train_script import given_path
from training.system.console import say

CHECK_EVERY_S = 5.0
State = dict[Path, list[tuple[str, int, int]]]
"""Name, size and time of change of the scene files of some folders."""


def scenes_folder(parameters: Mapping[str, Any]) -> Path:
    """Return where a deployment's scenes are; raises FaultsError for parameters that are wrong."""
    options = checked_options(FlowOptions, {"exp_name": "any", **option_values(parameters)})
    return given_path(options, "scenes_dir")


def scene_names(folder: Path) -> list[str]:
    """Return the names of a folder's scenes; raises FaultsError when one can't be read."""
    return [scene.seq_name for scene in load_scenes(folder)]


class SceneMenus:
    """Brings the menus of a server's deployments up to date when scene files change."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._state: State | None = None
        self._next = 0.0

    def refresh(self) -> None:
        """Update the menus if a scene file has changed since the last call, every few seconds.

        A server that does not answer is asked again. Menus stay as they are where a scene can't be
        read; which one, each run says.
        """
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + CHECK_EVERY_S
        if self._state is not None and _state_of(self._state) == self._state:
            return
        with suppress(httpx.HTTPError, FaultsError, ValueError):  # the last: not Prefect's words
            self._state = self._update()

    def _update(self) -> State:
        """Update all menus; return the state of their folders, as it was before."""
        with api_client(self._settings[API_URL], self._settings, CHECK_S) as client:
            client.patience_s = 0.0
            named = {"flows": {"name": {"any_": sorted(FLOW_NAMES.values())}}}
            deployments = client.post("/deployments/filter", json=named).raise_for_status().json()
            folders = {each["id"]: _folder_of(each) for each in deployments}
            state = _state_of({folder for folder in folders.values() if folder})
            for each in deployments:
                if folder := folders[each["id"]]:
                    _update_menu(client, each, folder)
        return state


def _folder_of(deployment: Mapping[str, Any]) -> Path | None:
    try:
        return scenes_folder(deployment["parameters"])
    except FaultsError:
        return None


def _state_of(folders: Mapping[Path, Any] | set[Path]) -> State:
    found: State = {}
    for folder in folders:
        found[folder] = []
        with suppress(OSError):
            files = ((path.name, path.stat()) for path in folder.glob(f"*{SUFFIX}"))
            found[folder] = sorted((name, each.st_size, each.st_mtime_ns) for name, each in files)
    return found


def _update_menu(client: httpx.Client, deployment: Mapping[str, Any], folder: Path) -> None:
    """Put the folder's scenes into a deployment's form; nothing else of it changes."""
    try:
        names = scene_names(folder)
    except FaultsError:
        return
    schema = deployment["parameter_openapi_schema"] or {}
    wanted = with_scene_menu(schema, names)
    if json.dumps(wanted) == json.dumps(schema):
        return
    body = {"parameter_openapi_schema": wanted}
    answer = client.patch(f"/deployments/{deployment['id']}", json=body)
    if answer.is_client_error:  # its own parameters name a scene that is gone
        what = f"the menu of scenes of {deployment['name']} stays as it is"
        say(f"warning: {what}, the server refuses the new one: {answer.text}", sys.stderr)
        return
    answer.raise_for_status()
