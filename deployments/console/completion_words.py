"""What a shell may complete: flags, experiments, scenes, and the configuration's keys.

A shell waits for it, so that pydantic and Hydra are not imported: the flags of all commands are
kept in the user's cache folder, and found anew when a module that defines some has changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from preprocess.faults import FaultsError
from preprocess.json_file import read_json
from preprocess.roots import CHECKOUT, absolute, resolve_root_folders, shipped

CONFIG_FILE = CHECKOUT / "training" / "configs" / "train.yaml"
SCENES = "preprocess/scenes"
RECORD = "run.json"
EXPERIMENTS = "_experiments"

Flags = list[dict[str, Any]]
"""Of one command: `names`, `nargs` (0, 1 or "*") and `choices` of each flag."""


def flags_by_command(models: Mapping[str, str]) -> dict[str, Flags]:
    """Return the flags of each command, given its options' model as `module:name`; from the cache.

    Where the cache can't be written they are found anew each time.
    """
    stamp = _stamp(models)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        kept = read_json(_cache_file())
        if kept["stamp"] == stamp:
            return dict(kept["flags"])
    flags = {command: _flags(model) for command, model in models.items()}
    from training.system.atomic_write import write_atomically

    with contextlib.suppress(OSError):
        _cache_file().parent.mkdir(parents=True, exist_ok=True)
        write_atomically(_cache_file(), json.dumps({"stamp": stamp, "flags": flags}))
    return flags


def configuration_keys() -> list[str]:
    """Return the dotted keys of train.yaml that hold values, in its order."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with CONFIG_FILE.open(encoding="utf-8") as stream:
        return list(_leaves(yaml.load(stream, loader)))  # noqa: S506 - a safe loader


def scenes(scenes_dir: str | None) -> list[str]:
    """Return the names that the scene files give; files that can't be read are left out."""
    folder = absolute(scenes_dir) if scenes_dir else shipped(SCENES)
    names = []
    for path in sorted(folder.glob("*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            names.append(str(read_json(path)["seq_name"]))
    return names


def experiments(flags: Mapping[str, str]) -> list[str]:
    """Return the experiments that have a record or an aggregate; none where roots are wrong."""
    try:
        root = resolve_root_folders(flags)["results_root"]
    except FaultsError:
        return []
    found = {path.parent.name for path in root.glob(f"*/*/{RECORD}")}
    found |= {path.parts[-3] for path in root.glob(f"*/*/*=*/{RECORD}")}
    return sorted(found | {path.name for path in root.glob(f"{EXPERIMENTS}/*")})


def _leaves(content: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _flags(model_name: str) -> Flags:
    from training.plan.options import flag_name

    module, _, name = model_name.partition(":")
    model = getattr(import_module(module), name)
    fields = [(flag_name(field, model), info) for field, info in model.model_fields.items()]
    return [_flag(flag, info) for flag, info in fields]


def _flag(name: str, info: Any) -> dict[str, Any]:
    from training.cli.parser import argument_of

    argument = argument_of(info)
    if "action" in argument and "nargs" not in argument:
        names = [name] if not info.default else [name, name.replace("--", "--no-", 1)]
        return {"names": names, "nargs": 0, "choices": []}
    choices = argument["metavar"].split("|") if "|" in argument["metavar"] else []
    return {"names": [name], "nargs": argument.get("nargs", 1), "choices": choices}


def _stamp(models: Mapping[str, str]) -> list[Any]:
    """Return what changes when a command or a module that defines flags does."""
    modules = {model.partition(":")[0] for model in models.values()} | {__name__}
    found: list[Any] = sorted(models.items())
    for module in sorted(modules):
        path = CHECKOUT / f"{module.replace('.', '/')}.py"
        with contextlib.suppress(OSError):
            found.append([str(path), path.stat().st_mtime_ns, path.stat().st_size])
    return list(json.loads(json.dumps(found)))


def _cache_file() -> Path:
    """Return one file for each installation, below $XDG_CACHE_HOME or ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    name = hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:16]
    return absolute(home) / "training-scheduler" / f"flags-{name}.json"
