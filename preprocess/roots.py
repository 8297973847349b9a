"""Resolve the three root folders of results, scene data and state.

The first source that names one decides: flags, `TS_…` variables, `training/configs/paths.yaml`,
defaults below the checkout's `outputs/`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from preprocess.faults import Fault, FaultsError, did_you_mean

CHECKOUT = Path(__file__).resolve().parent.parent
"""Where these sources lie: the checkout, or in a trainer's process maybe a copy of it."""
CHECKOUT_VARIABLE = "TS_CHECKOUT"
"""Names the checkout to a trainer that runs from a copy (`training.snapshots`)."""
PATHS_FILE = CHECKOUT / "training" / "configs" / "paths.yaml"
VARIABLES = {
    "results_root": "TS_RESULTS_ROOT",
    "scene_data_root": "TS_SCENE_DATA_ROOT",
    "state_root": "TS_STATE_ROOT",
}
DEFAULTS = {
    "results_root": "outputs/results",
    "scene_data_root": "outputs/scenes",
    "state_root": "outputs/state",
}


def resolve_root_folders(
    flags: Mapping[str, str],
    environ: Mapping[str, str] | None = None,
    paths_file: Path = PATHS_FILE,
) -> dict[str, Path]:
    """Resolve each root, by its key, to an absolute path from the first source that names it.

    Relative paths start at the caller's folder; those of `paths.yaml` and the defaults start at
    the checkout. Raises FaultsError when `paths.yaml` is not a mapping of known keys to text.
    """
    environ = os.environ if environ is None else environ
    site = _site_paths(paths_file)
    return {
        key: _absolute(flags.get(key) or environ.get(variable), site.get(key) or DEFAULTS[key])
        for key, variable in VARIABLES.items()
    }


def _absolute(given: str | None, fallback: str) -> Path:
    path = Path(given).expanduser() if given else CHECKOUT / Path(fallback).expanduser()
    return Path(os.path.abspath(path))


def _site_paths(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    import yaml

    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise FaultsError([Fault(f"{path} can't be read as YAML", str(error))]) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise FaultsError([Fault(f"{path} is not a mapping", remedy="write key: path lines")])
    faults = [
        Fault(f"{path}: unknown key", str(key), did_you_mean(str(key), VARIABLES))
        for key in content
        if key not in VARIABLES
    ] + [
        Fault(f"{path}: {key} is not a path", repr(value), "write a text, e.g. /data/results")
        for key, value in content.items()
        if key in VARIABLES and not isinstance(value, str | None)
    ]
    if faults:
        raise FaultsError(faults)
    return content
