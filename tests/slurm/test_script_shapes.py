"""Slurm scripts as laboratories have them, each submitted to a real Slurm; all at once."""

from __future__ import annotations

import pytest
from script_shapes import RUNS, STOPPED

from preprocess.roots import CHECKOUT
from training.jobs.submit import submit
from training.plan.make_plan import make_plan
from training.plan.options import LaunchOptions, checked_options

STAND_IN = str(CHECKOUT / "tests" / "stand_in_trainer.py")


@pytest.fixture
def submit_shapes(array_lab, monkeypatch, tmp_path):
    """Return a function that submits one scene with each of these shapes, from another folder.

    It returns the array job of each shape. Experiments are called `shape_<number>`.
    """
    for key, value in array_lab.environment.items():
        monkeypatch.setenv(key, value)
    monkeypatch.chdir(tmp_path)

    def submit_all(names, *overrides):
        return {name: submit_one(number, name, overrides) for number, name in enumerate(names)}

    def submit_one(number, name, overrides):
        script = tmp_path / f"shape_{number}.slurm"
        script.write_bytes(RUNS[name].format(folder=tmp_path).encode())
        given = {
            "exp_name": f"shape_{number}",
            "scenes_dir": str(array_lab.scenes_dir),
            "scene_name_includes": "a_0",
            "train_script": STAND_IN,
            "slurm_script": str(script),
            "submit": True,
            "overrides": overrides,
        }
        options = checked_options(LaunchOptions, given)
        assert submit(options, [make_plan(options)]) == 0
        (job,) = [each for each in array_lab.slurm.squeue() if each.name == f"shape_{number}"]
        return job.job_id

    return submit_all


def logs(lab, number: int) -> str:
    found = (lab.root / "state" / "slurm").glob(f"*/shape_{number}-*.out")
    return "".join(path.read_text() for path in found)


def test_every_shape_trains_its_scene(array_lab, submit_shapes, eventually, tmp_path):
    """Record and job say done, the scene was started once, and both streams are in our log."""
    jobs = submit_shapes(RUNS)
    eventually(lambda: not array_lab.slurm.squeue(), "all jobs' ends", 180)
    for number, (name, job_id) in enumerate(jobs.items()):
        exp_name = f"shape_{number}"
        log = logs(array_lab, number)
        assert array_lab.record("a_0", exp_name)["status"] == "done", name + log
        starts = array_lab.output("a_0", exp_name) / "starts.txt"
        assert len(starts.read_text().splitlines()) == 1, name
        assert array_lab.slurm.job(job_id)["JobState"] == "COMPLETED", name + log
        assert not list(tmp_path.glob("apart*"))
    with_errors = list(jobs).index("errors apart from output")
    assert "of the module" in logs(array_lab, with_errors)
    copies = list(jobs).index("two tasks of a node, srun")
    assert "task 1 of this job steps aside" in logs(array_lab, copies)
    assert not list((array_lab.root / "state" / "slurm").glob("*/*.entry"))


def test_signals_reach_the_trainer_through_every_shape(array_lab, submit_shapes, eventually):
    """Slurm's warning saves a checkpoint; scancel lets the trainer save one and end by itself."""
    jobs = submit_shapes(STOPPED, "do=checkpoint_on_signals")
    outputs = [array_lab.output("a_0", f"shape_{number}") for number in range(len(jobs))]
    saved = [output / "checkpoints" for output in outputs]
    eventually(lambda: all((each / "ready.txt").exists() for each in outputs), "trainers", 120)
    warning = {name: "USR2" if "USR2" in name else "USR1" for name in jobs}
    for name, job_id in jobs.items():
        array_lab.slurm.call("scancel", "--batch", f"--signal={warning[name]}", job_id)

    def unsaved(name: str) -> list[str]:
        return [
            shape
            for shape, folder in zip(jobs, saved, strict=True)
            if not (folder / f"{name}.txt").exists()
        ]

    eventually(lambda: not unsaved("SIGUSR1"), "checkpoints after the warning")
    array_lab.slurm.call("scancel", *jobs.values())
    eventually(lambda: not array_lab.slurm.squeue(), "all jobs' ends")
    assert not unsaved("SIGTERM")
    records = [array_lab.record("a_0", f"shape_{number}") for number in range(len(jobs))]
    assert [record["attempts"][-1]["exit_status"] for record in records] == [1] * len(jobs)
