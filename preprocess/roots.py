"""Resolve the three root folders of results, scene data and state.

The first source that names one decides: flags, `TS_…` variables, `training/configs/paths.yaml`,
defaults below `outputs/`. The last two start at the checkout; for an installed copy of these
sources, which has no place of its own, at the current folder (`start_folder`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from preprocess.faults import Fault, FaultsError, did_you_mean, unusable_text

CHECKOUT = Path(__file__).resolve().parent.parent
"""Where these sources lie: the checkout, site-packages, or in a trainer's process maybe a copy."""
CHECKOUT_VARIABLE = "TS_CHECKOUT"
"""Names `start_folder` to processes whose sources or working folder do not tell it: a trainer that
runs from a copy (`training.snapshots`), and all processes of an installed copy."""
MARK = "pyproject.toml"
"""Lies beside the packages in a checkout, and not beside installed ones."""
PATHS_FILE = "training/configs/paths.yaml"
VARIABLES = {
    "results_root": "TS_RESULTS_ROOT",
    "scene_data_root": "TS_SCENE_DATA_ROOT",
    "state_root": "TS_STATE_ROOT",
}
UNKNOWN_VARIABLE = re.compile(r"\$(\w+|\{\w+\})", re.ASCII)
DEFAULTS = {
    "results_root": "outputs/results",
    "scene_data_root": "outputs/scenes",
    "state_root": "outputs/state",
}


def resolve_root_folders(
    flags: Mapping[str, str],
    environ: Mapping[str, str] | None = None,
    paths_file: Path | None = None,
) -> dict[str, Path]:
    """Resolve each root, by its key, to an absolute path from the first source that names it.

    Relative paths start at the caller's folder; those of `paths.yaml` and the defaults start at
    `start_folder`, where `paths.yaml` is looked for, too, unless it is named here. Raises
    FaultsError when `paths.yaml` is not a mapping of known keys to text, or a path begins with an
    unknown user's home or names a variable that is not set.
    """
    environ = os.environ if environ is None else environ
    start = start_folder(environ)
    site = _site_paths(paths_file or start / PATHS_FILE)
    given = {key: flags.get(key) or environ.get(name) or "" for key, name in VARIABLES.items()}
    texts = {key: given[key] or site.get(key) or DEFAULTS[key] for key in VARIABLES}
    faults = [fault for key, text in texts.items() if (fault := _unknown_fault(key, text))]
    if faults:
        raise FaultsError(faults)
    return {key: absolute(text, Path() if given[key] else start) for key, text in texts.items()}


def is_checkout() -> bool:
    """Return whether these sources lie in a checkout, not in site-packages or a snapshot."""
    return (CHECKOUT / MARK).is_file()


def start_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Return where defaults, `paths.yaml` and relative paths of a configuration start.

    The checkout; for an installed copy the current folder of the command that was typed.
    """
    environ = os.environ if environ is None else environ
    if named := environ.get(CHECKOUT_VARIABLE):
        return Path(named)
    return CHECKOUT if is_checkout() else Path.cwd()


def variables_of_installed_copy() -> dict[str, str]:
    """Return what tells `start_folder` to processes that start elsewhere; none of a checkout."""
    return {} if is_checkout() else {CHECKOUT_VARIABLE: str(start_folder())}


def shipped(path: str) -> Path:
    """Return a file or folder that comes with the sources; one at `start_folder` counts first."""
    own = start_folder() / path
    return own if own.exists() else CHECKOUT / path


def under_checkout(path: str) -> Path:
    """Return an absolute path of a configuration; a relative one starts at `start_folder`.

    Files that come with these sources are read here: in a trainer that runs from a copy of the
    checkout, those that the copy has.
    """
    given = expanded(path)
    copied = CHECKOUT / given
    return copied if copied.is_file() else start_folder() / given


def expanded(text: str) -> Path:
    """Return a path with `~` and variables such as `$HOME` replaced, as far as they are known."""
    # Path's own raises for the home of an unknown user.
    return Path(os.path.expanduser(os.path.expandvars(text)))  # noqa: PTH111


def absolute(text: str, start: Path = Path()) -> Path:
    """Return a path option as an absolute path; relative ones start at the caller's folder."""
    return Path(os.path.abspath(start / expanded(text)))


def _unknown_fault(key: str, text: str) -> Fault | None:
    """Return a fault for a root with an unknown `$NAME` or `~user`: nobody has such a folder."""
    path = str(expanded(text))
    if reason := unusable_text(path):
        return Fault(f"{key} can't be a folder", repr(path), reason)
    if not path.startswith("~") and not UNKNOWN_VARIABLE.search(path):
        return None
    remedy = f"set the variable, or name the folder with --{key.replace('_', '-')}"
    return Fault(f"{key} is not known here", text, remedy)


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
