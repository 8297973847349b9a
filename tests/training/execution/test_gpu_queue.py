"""When the GPU of a run that ended without giving it back is free again."""

from __future__ import annotations

import json
import os

import pytest
from page_lab import planned

from training.execution.gpu_queue import GivenUpError, lent_gpu
from training.records.claim import claimed
from training.system.gpus import lock_file


@pytest.fixture
def gpus():
    """Two made-up names that no other test uses."""
    names = [f"GPU-{os.getpid()}-{number}" for number in (0, 1)]
    yield names
    for name in names:
        lock_file(name).unlink(missing_ok=True)


@pytest.fixture
def scenes(tmp_path):
    return planned(tmp_path, "a", "b").scenes


def lent(gpus, scene) -> str | None:
    """The GPU that a scene gets at once, or None."""
    try:
        with lent_gpu(gpus, scene, lambda _: None, lambda: True) as gpu:
            return gpu
    except GivenUpError:
        return None


def stop_with(gpu, scene) -> None:
    """A run that is stopped while the scene's trainer has the GPU, and may save a checkpoint."""
    with pytest.raises(KeyboardInterrupt), lent_gpu([gpu], scene, print, lambda: True):
        raise KeyboardInterrupt


def test_a_gpu_is_in_use_until_the_trainer_of_a_stopped_run_has_ended(gpus, scenes):
    """A flow that stops, or that has lost a worker, does not wait for its trainer."""
    scene, next_scene = scenes
    with claimed(scene.output, os.getpid(), gpu=gpus[0]):
        stop_with(gpus[0], scene)
        assert lent(gpus[:1], next_scene) is None
    assert lent(gpus[:1], next_scene) == gpus[0]


def test_a_gpu_is_free_when_its_last_scene_trains_on_another_one(gpus, scenes):
    """As after a launcher that was killed: its scenes start again, on whichever GPU is free."""
    scene, next_scene = scenes
    lock_file(gpus[0]).write_text(json.dumps({"pid": 1, "output": str(scene.output)}))
    with claimed(scene.output, os.getpid(), gpu=gpus[1]):
        assert lent(gpus[:1], next_scene) == gpus[0]
