"""A plan's file, and the one scene of it that an array task reads."""

from __future__ import annotations

import pytest

from training.plan.experiments import PlanFileError, read_plan
from training.plan.make_plan import make_plan
from training.plan.model import Plan
from training.plan.options import LaunchOptions
from training.plan.plan_file import read_scene_to_run, write_plan
from training.system.atomic_write import write_atomically


@pytest.fixture
def plan(lab):
    """A plan that was kept, of four scenes with names beyond ASCII in their JSON; one is done."""
    for name in ("a_1", "b_2", "c_3", "d_4"):
        lab.add_scene(name, note=f"ü {name}")
    (lab.root / "script").mkdir()
    (lab.root / "script" / "train.py").touch()
    options = LaunchOptions(
        exp_name="e",
        run_all=True,
        scenes_dir=str(lab.root / "registry"),
        train_script=str(lab.root / "script" / "train.py"),
        results_root=str(lab.root / "results"),
        state_root=str(lab.root / "state"),
        scene_data_root=str(lab.root / "data"),
    )
    made = make_plan(options)
    made.take_reading()  # of the sources, which no file has
    first, second, *rest = made.scenes
    second = second.model_copy(update={"action": "skip", "reason": "done"})
    made = made.model_copy(update={"scenes": (first, second, *rest)})
    write_plan(made)
    return made


def test_the_file_is_the_plan_and_has_a_scene_a_line(plan):
    """Other programs read it as JSON."""
    assert plan.file.read_text() == plan.to_json()
    assert Plan.model_validate_json(plan.file.read_bytes()) == plan
    lines = plan.file.read_text().splitlines()
    assert [sum(f'"name":"{scene.name}"' in line for line in lines) for scene in plan.scenes] == (
        [1] * 4
    )


def test_a_task_gets_its_scene_and_all_else_of_the_plan(plan):
    """The k-th of the scenes to run, which is not the k-th of all."""
    for number, scene in enumerate(plan.of("run")):
        assert read_scene_to_run(plan.file, number) == plan.model_copy(update={"scenes": (scene,)})


def test_a_plan_without_offsets_is_read_whole(plan):
    """As the version before has written it, all on one line."""
    plan.scene_offsets.unlink()
    write_atomically(plan.file, plan.model_dump_json())
    own = read_scene_to_run(plan.file, 2)
    assert own.scenes == (plan.of("run")[2],)
    with pytest.raises(IndexError):
        read_scene_to_run(plan.file, 3)


def test_a_damaged_plan_is_named(plan):
    """Not a scene of it, and not another's."""
    plan.file.write_text("{")
    read_plan.cache_clear()
    with pytest.raises(PlanFileError, match=plan.file.name):
        read_scene_to_run(plan.file, 0)
