"""When the GPU of a run that ended without giving it back is free again."""

from __future__ import annotations

import json
import os
import threading
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

import pytest
from page_lab import planned

from training.execution.gpu_queue import GivenUpError, lent_gpu
from training.execution.gpu_sharing import GpuSharing
from training.records.claim import claimed
from training.system.gpus import lock_file


@pytest.fixture
def gpus():
    """Two made-up names that no other test uses."""
    names = [f"GPU-{os.getpid()}-{number}" for number in (0, 1)]
    yield names
    for name in names:
        for file in lock_file(name).parent.glob(f"{lock_file(name).name}*"):
            file.unlink()


@pytest.fixture
def scenes(tmp_path):
    return planned(tmp_path, "a", "b").scenes


def sharing_of(count: int) -> GpuSharing:
    return GpuSharing(count, print)


ALONE = sharing_of(1)


def lent(gpus, scene, sharing=ALONE) -> str | None:
    """The GPU that a scene gets at once, or None."""
    try:
        with lent_gpu(gpus, scene, sharing, lambda _: None, lambda: True) as gpu:
            return gpu
    except GivenUpError:
        return None


def stop_with(gpu, scene, sharing=ALONE) -> None:
    """A run that is stopped while the scene's trainer has the GPU, and may save a checkpoint."""
    with pytest.raises(KeyboardInterrupt), lent_gpu([gpu], scene, sharing, print, lambda: True):
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


@contextmanager
def placed(gpus, count, scene="a"):
    """The GPU of a scene that has a place; each is one of `count` at most."""
    names = planned(Path("/x"), scene).scenes
    with lent_gpu(gpus, names[0], sharing_of(count), lambda _: None, lambda: True) as gpu:
        yield gpu


def has_place(gpus, count) -> bool:
    with suppress(GivenUpError), placed(gpus, count, "next"):
        return True
    return False


def test_scenes_share_a_gpu_up_to_the_bound_and_none_beside_one_that_is_alone(gpus):
    """Whatever run they are of; a smaller bound counts those that are there under a larger one."""
    (gpu, _) = gpus
    with placed([gpu], 3, "a"):
        assert not has_place([gpu], 1)
        with placed([gpu], 3, "b"):
            assert not has_place([gpu], 2)
            assert has_place([gpu], 3)
            with placed([gpu], 3, "c"):
                assert not has_place([gpu], 3)
                assert has_place([gpu], 4)
        assert has_place([gpu], 2)
    with placed([gpu], 1):
        assert not has_place([gpu], 1)
        assert not has_place([gpu], 4)
    assert has_place([gpu], 1)


def test_scenes_spread_over_gpus_before_they_share_one(gpus):
    with ExitStack() as stack:
        assert [stack.enter_context(placed(gpus, 2, name)) for name in "abcd"] == [*gpus, *gpus]
        assert not has_place(gpus, 2)


def test_places_are_taken_once_by_threads_that_come_together(gpus):
    """Twelve threads for two places on each of two GPUs."""
    together, got = threading.Barrier(12), []
    leave = threading.Event()

    def come() -> None:
        together.wait(30)
        with suppress(GivenUpError), placed(gpus, 2) as gpu:
            got.append(gpu)
            leave.wait(30)

    threads = [threading.Thread(target=come) for _ in range(12)]
    for thread in threads:
        thread.start()
    while sum(thread.is_alive() for thread in threads) > 4:
        next(thread for thread in threads if thread.is_alive()).join(0.05)
    leave.set()
    for thread in threads:
        thread.join(30)
    assert sorted(got) == sorted([*gpus, *gpus])


def test_a_place_is_taken_until_the_trainer_of_a_stopped_run_has_ended(gpus, scenes):
    """One of two places; the GPU is for nobody alone meanwhile."""
    scene, next_scene = scenes
    both = sharing_of(2)
    with claimed(scene.output, os.getpid(), gpu=gpus[0]):
        stop_with(gpus[0], scene, both)
        assert lent(gpus[:1], next_scene) is None
        with placed(gpus[:1], 2):
            assert lent(gpus[:1], next_scene, both) is None
    assert lent(gpus[:1], next_scene) == gpus[0]


def test_who_waits_is_told_of_other_runs_only(gpus, scenes):
    """After the bound was halved, scenes of the same run wait for each other all the time."""
    told = []
    (gpu, _), (scene, _) = gpus, scenes

    def wait() -> None:
        with suppress(GivenUpError), lent_gpu([gpu], scene, ALONE, told.append, waits.pop):
            pass

    waits = [True, False]
    with placed([gpu], 2), polled_often():
        wait()
    assert told == []
    waits = [True, False]
    other = lock_file(gpu)
    with placed([gpu], 1), polled_often():
        other.write_text(json.dumps({"pid": os.getppid(), "output": "/results/b/two"}))
        wait()
    assert told == [f"a: waits for a GPU, {gpu} trains b of two (process {os.getppid()})"]


@pytest.mark.parametrize(("looks", "is_told"), [(1, False), (2, True)])
def test_who_has_a_gpu_without_a_name_is_told_of_at_the_second_look(gpus, scenes, looks, is_told):
    """Who has only just taken it, maybe a scene of the same run, has not written its name yet."""
    told, gives_up = [], [True, *[False] * looks]
    with placed(gpus[:1], 1), polled_often():
        lock_file(gpus[0]).write_text("")
        with (
            pytest.raises(GivenUpError),
            lent_gpu(gpus[:1], scenes[0], ALONE, told.append, gives_up.pop),
        ):
            pass
    assert told == [f"a: waits for a GPU, {gpus[0]} is in use"] * is_told


def polled_often():
    return patch("training.execution.gpu_queue.POLL_S", 0.01)
