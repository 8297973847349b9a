"""The checkpoint: everything a run needs to continue as if it had never stopped.

While a scene trains there are two, the last one and the one before it, which takes its place if it
is damaged.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from preprocess.faults import Fault, FaultsError
from training.configuration.overrides import leaves
from training.system.atomic_write import write_atomically
from training.trainer.config.schema import Config

FORMAT = 2
"""2: corrections of poses are composed with the estimates; 1 added axis-angle vectors."""
PREVIOUS = "previous.pt"
"""The checkpoint before the last one, in the same folder."""
IGNORED_PREFIXES = (
    "shared.",
    "data.",
    "run_mode",
    "cpu_rasterizer",
    "difix_data_generation.",
    "refiner_train.",
    "difix.same_group",
    "train.difix.",
    "train.export.",
    "train.evaluation.eval_",
    "train.evaluation.pose_eval.",
    "train.evaluation.nvs_eval.",
)
"""Keys that say where a run lies, how it reads, computes, is watched and evaluated, what its
model is for; and `train.difix`, whose values are those of `difix`.

All other keys decide what training does.
"""

ESTIMATES = {"poses.first_pose": "pose", "poses.first_trans": "trans"}
"""Keys of a model's state that are data of the scene, one row a frame, and what they are."""


def save_checkpoint(path: Path, state: dict[str, Any], identity: dict[str, Any]) -> None:
    """Write `state` (tensors and plain data) whole or not at all; raises OSError.

    What `path` was before is kept beside it.
    """
    write_tensors(path, {"format": FORMAT, "identity": identity, "state": state})


def write_tensors(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain data as `save_checkpoint` does; raises OSError."""
    # torch.save into memory: straight into a file it hides a full disk behind another error.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, buffer.getvalue(), sole_writer=True, keep_as=_previous(path))


def forget_previous(path: Path) -> None:
    """Remove the checkpoint before the last one, once a run is complete; raises OSError."""
    _previous(path).unlink(missing_ok=True)


def load_checkpoint(path: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """Return the state in `path`, or of the one before it where `path` is damaged.

    None when there is no readable checkpoint. A damaged file is renamed to `<name>.damaged-<n>`,
    which standard output says.

    Raises FaultsError naming the differing keys when another configuration made it, OSError when
    the file can't be opened.
    """
    content = read_newest(path, read_checkpoint)
    if content is None:
        return None
    # Identities of earlier versions may have keys that are ignored today.
    refuse_different(path, _without_ignored(content["identity"]), identity)
    return dict(content["state"])


def read_newest(path: Path, read: Callable[[Path], dict[str, Any] | None]) -> dict[str, Any] | None:
    """Return what `read` makes of `path` or, where that is damaged, of the checkpoint before it.

    `read` returns None for a damaged file. Raises what it raises, OSError.
    """
    if not path.exists():  # deleted, to train anew: the one before it counts no more
        forget_previous(path)
        return None
    content = read(path)
    if content is not None:
        return content
    aside, previous = _set_aside(path), _previous(path)
    goes_on = "goes on from the checkpoint before it" if previous.exists() else "starts anew"
    print(f"{path} is damaged: kept as {aside.name}, training {goes_on}", flush=True)
    if not previous.exists():
        return None
    previous.rename(path)
    return read_newest(path, read)


def run_identity(config: Config, scene: dict[str, Any]) -> dict[str, Any]:
    """Return what decides a run's result: dotted keys of the configuration and the scene's JSON."""
    return _without_ignored(_flat(config.model_dump())) | _flat({"scene": scene})


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """Return a checkpoint's `identity` and `state`, or None when damaged.

    Raises FaultsError when another version of the trainer wrote it, OSError.
    """
    content = read_tensors(path)
    if content is None or not {"format", "identity", "state"} <= content.keys():
        return None
    if content["format"] != FORMAT:
        what = f"{path} was written by another version of the trainer"
        value = f"its format is {content['format']!r}, this version's {FORMAT}"
        remedy = "delete the checkpoint to train the scene anew, or choose another shared.exp_name"
        raise FaultsError([Fault(what, value, remedy)])
    return content


def read_tensors(path: Path) -> dict[str, Any] | None:
    """Return what `write_tensors` wrote, on the CPU, or None when damaged; raises OSError."""
    data = path.read_bytes()
    try:
        # torch.load does not check the checksums of the zip file that it reads.
        if zipfile.ZipFile(io.BytesIO(data)).testzip() is not None:
            return None
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001 - torch raises a dozen undocumented types for damaged files
        return None
    return content if isinstance(content, dict) else None


def refuse_different(path: Path, made_with: dict[str, Any], identity: dict[str, Any]) -> None:
    """Raise FaultsError naming every key that differs between two identities."""
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


def refuse_other_data(
    path: Path, saved: Mapping[str, Tensor], current: Mapping[str, Tensor]
) -> None:
    """Raise FaultsError where a model was trained on other frames or estimated poses than now.

    Both are named as in a model's state. The people would be in the wrong places.
    """
    for key, what in ESTIMATES.items():
        then, now = saved[key], current[key].cpu()
        if not torch.equal(then, now):
            value = f"{what} {tuple(then.shape)} then, {tuple(now.shape)} now"
            if then.shape == now.shape:
                value = f"other {what} than now"
            remedy = "put the old data back, or delete the checkpoint and train the scene again"
            trained = f"{path} was trained on other frames or body parameters"
            raise FaultsError([Fault(trained, value, remedy)])


def _previous(path: Path) -> Path:
    return path.with_name(PREVIOUS)


def _set_aside(path: Path) -> Path:
    damaged_before = len(list(path.parent.glob(f"{path.name}.damaged-*")))
    return path.rename(path.with_name(f"{path.name}.damaged-{damaged_before + 1}"))


def _without_ignored(keys: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in keys.items() if not key.startswith(IGNORED_PREFIXES)}


def _flat(content: dict[str, Any]) -> dict[str, Any]:
    # Empty mappings are left out: identities in existing checkpoints do not have them.
    return {key: value for key, value in leaves(content) if not isinstance(value, dict)}
