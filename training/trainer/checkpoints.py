"""The checkpoint: everything a run needs to go on as if it had never stopped."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import torch

from preprocess.faults import Fault, FaultsError
from training.trainer.config.schema import Config
from training.trainer.output_files import write_bytes

FORMAT = 1
WHERE_NOT_WHAT = ("shared.", "run_mode", "difix_data_generation.")
"""Keys that say where, how a run is watched, or what is made of it; all others decide training."""


def save_checkpoint(path: Path, state: dict[str, Any], identity: dict[str, Any]) -> None:
    """Write `state` (tensors and plain data) whole or not at all; raises OSError."""
    # torch.save into memory: straight into a file it hides a full disk behind another error.
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "identity": identity, "state": state}, buffer)
    write_bytes(path, buffer.getvalue())


def load_checkpoint(path: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """The state in `path`; None when there is none that can be read.

    A damaged file is set aside, which is said on standard output.

    Raises FaultsError naming the differing keys when another configuration made it, OSError when
    the file can't be opened.
    """
    if not path.exists():
        return None
    content = read_checkpoint(path)
    if content is None:
        aside = _set_aside(path)
        print(f"{path} is damaged: kept as {aside.name}, training starts anew", flush=True)
        return None
    # An older version's identity may have keys that decide nothing.
    refuse_other(path, _deciding(content["identity"]), identity)
    return dict(content["state"])


def identity_of(config: Config, scene: dict[str, Any]) -> dict[str, Any]:
    """What decides a run's result, as flat keys: configuration and scene, less where and how."""
    keys = _flat(config.model_dump())
    return _deciding(keys) | _flat({"scene": scene})


def _deciding(keys: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in keys.items() if not key.startswith(WHERE_NOT_WHAT)}


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """`identity` and `state` of a file, None when it is damaged; raises OSError."""
    data = path.read_bytes()
    try:
        # torch.load does not look at the checksums of the zip file it reads.
        if zipfile.ZipFile(io.BytesIO(data)).testzip() is not None:
            return None
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001 torch raises a dozen types for damaged files, undocumented
        return None
    whole = isinstance(content, dict) and {"format", "identity", "state"} <= content.keys()
    return content if whole and content["format"] == FORMAT else None


def _set_aside(path: Path) -> Path:
    taken = len(list(path.parent.glob(f"{path.name}.damaged-*")))
    return path.rename(path.with_name(f"{path.name}.damaged-{taken + 1}"))


def refuse_other(path: Path, made_with: dict[str, Any], identity: dict[str, Any]) -> None:
    """Raises FaultsError naming every key that differs."""
    faults = [
        Fault(
            f"{path} was made with another {key}",
            f"{made_with.get(key)!r} then, {identity.get(key)!r} now",
            "set it back, choose another shared.exp_name, or delete the checkpoint",
        )
        for key in sorted(made_with.keys() | identity.keys())
        if made_with.get(key) != identity.get(key)
    ]
    if faults:
        raise FaultsError(faults)


def _flat(node: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(node, dict):
        return {prefix: node}
    return {
        name: value
        for key, inner in node.items()
        for name, value in _flat(inner, f"{prefix}.{key}" if prefix else str(key)).items()
    }
