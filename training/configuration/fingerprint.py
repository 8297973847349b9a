"""The fingerprint: a hash of what decides a scene's result."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

IGNORED_KEYS = (
    "shared.wandb",
    "shared.tensorboard",
    "shared.results_root",
    "shared.scene_data_root",
    "shared.scene_file",
)
"""Keys that say where and how a run is watched, not what comes out."""


def fingerprint(trainer: str, scene: dict[str, Any]) -> str:
    """Hash of what a scene's result follows from: `trainer_digest` and the scene's JSON."""
    return _digest([trainer, scene])


def trainer_digest(config: Any, source_version: str) -> str:
    """Hash of the composed configuration, or of overrides, and the trainer's source version."""
    decides = _without(config, IGNORED_KEYS) if isinstance(config, dict) else config
    return _digest([decides, source_version])


def source_version(files: Iterable[Path]) -> str:
    """Hash of the trainer's source files, by name and content.

    Raises OSError when one can't be read.
    """
    digest = hashlib.sha256()
    for path in sorted(files):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)} ".encode() + content)
    return digest.hexdigest()


def _without(config: dict[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    kept = copy.deepcopy(config)
    for key in keys:
        *parents, last = key.split(".")
        node: Any = kept
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        if isinstance(node, dict):
            node.pop(last, None)
    return kept


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
