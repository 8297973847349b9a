"""What commands open and list for each scene: counted, since ten thousand may be waited for."""

from __future__ import annotations

import gc
import sys
from collections import Counter

import pytest

from training import run
from training.cli.parser import command_line_of
from training.jobs.status import take_snapshot
from training.plan.experiments import find_experiment
from training.plan.make_plan import make_plan as plan_of
from training.plan.options import LaunchOptions
from training.records.record import Attempt, Cause, RunRecord, now, write_record
from training.report.summary import summarise
from training.system.atomic_write import write_atomically

LISTED = {"os.listdir", "os.scandir"}
_counted: list[tuple[str, Counter[str]]] = []


def _count(event: str, arguments: tuple[object, ...]) -> None:
    if _counted and (event == "open" or event in LISTED):
        folder, counts = _counted[-1]
        if str(arguments[0]).startswith(folder):
            counts["opened" if event == "open" else "listed"] += 1


sys.addaudithook(_count)  # it can't be removed, and does nothing outside of `counting`


@pytest.fixture
def counted(tmp_path):
    """Return a function that calls another one; it returns how much was opened and listed."""

    def run(call) -> Counter[str]:
        _counted.append((str(tmp_path), Counter()))
        try:
            call()
        finally:
            _, counts = _counted.pop()
        return counts

    return run


@pytest.fixture
def experiment(tmp_path):
    """Return a function that makes an experiment of so many done scenes, and its options."""
    script = tmp_path / "script" / "train.py"
    script.parent.mkdir()
    script.write_text("")

    def make(count: int) -> LaunchOptions:
        registry = tmp_path / str(count) / "registry"
        registry.mkdir(parents=True)
        for number in range(count):
            name = f"s{number:03}"
            (registry / f"{name}.json").write_text(f'{{"seq_name": "{name}", "cam_id": 1}}')
        folders = {f"{name}_root": str(registry.parent / name) for name in ("results", "state")}
        options = LaunchOptions(
            exp_name="e",
            run_all=True,
            scenes_dir=str(registry),
            train_script=str(script),
            scene_data_root=str(tmp_path / "data"),
            **folders,
        )
        plan = plan_of(options)
        write_atomically(plan.file, plan.to_json())
        for scene in plan.scenes:
            record = RunRecord(
                scene=scene.name,
                exp_name=scene.exp_name,
                fingerprint=scene.fingerprint,
                status="running",
            ).started(Attempt(start=now(), host="n", pid=1))
            (scene.output / ".claim").mkdir(parents=True)
            write_record(scene.output, record.ended(Cause.OK, 0, "", {"psnr": 25.0}))
        return options

    return make


def per_scene(few: Counter[str], many: Counter[str], more: int) -> dict[str, float]:
    return {key: (many[key] - few[key]) / more for key in ("opened", "listed")}


def test_status_opens_one_file_a_scene_and_lists_none(experiment, counted):
    """Its record; the folder of all scenes is listed, that of none."""
    found = []
    for count in (5, 25):
        roots = plan_of(experiment(count)).roots
        found.append(counted(lambda: take_snapshot(find_experiment("e", roots))))  # noqa: B023
    assert per_scene(*found, 20) == {"opened": 1, "listed": 0}


def test_a_plan_opens_a_scene_and_its_record_and_lists_no_folder(experiment, counted):
    """To leave out what is done, each scene's file and record are read, and no claim."""
    options = [experiment(count) for count in (5, 25)]
    found = [counted(lambda: plan_of(each)) for each in options]  # noqa: B023
    assert per_scene(*found, 20) == {"opened": 2, "listed": 0}


def test_a_report_reads_each_record_once(experiment, counted):
    """And lists no folder of a scene."""
    found = []
    for count in (5, 25):
        roots = plan_of(experiment(count)).roots
        found.append(counted(lambda: summarise(roots, "e", [])))  # noqa: B023
    assert per_scene(*found, 20) == {"opened": 1, "listed": 0}


def test_no_garbage_is_looked_for_while_plans_are_made_and_shown(experiment, monkeypatch):
    """A search goes through all there is, and finds nothing in ten thousand plans."""
    arguments = command_line_of(experiment(2))
    searches, make_plans = [], run.make_plans

    def watched(options):
        searches.append(gc.isenabled())
        return make_plans(options)

    def preview(*_):
        searches.append(gc.isenabled())
        return ""

    monkeypatch.setattr(run, "make_plans", watched)
    monkeypatch.setattr(run, "preview", preview)
    assert run.main([*arguments, "--dry-run"]) == 0
    assert searches == [False, False]
    assert gc.isenabled()
