"""Array tasks that end before the training begins, because a line of the site's script fails."""

from __future__ import annotations

from flow_on_slurm import causes, script


def test_a_scene_that_never_started_is_reported_and_trained_again(slurm_lab, slurm, eventually):
    """--status shows what the job printed; with the script corrected the same command trains."""
    slurm_lab.add_scene("a")
    broken = script(slurm_lab, lines="echo 'module: no such thing' >&2; exit 127")
    submit = ("--submit", "--run-all")
    assert slurm_lab.run(*submit, *broken).returncode == 0
    eventually(lambda: not slurm.squeue(), "the array's end")

    def status():
        out = slurm_lab.run("--status").stdout
        return out if "1 failed" in out else ""

    out = eventually(status, "Slurm's answer")
    assert "before the training began: module: no such thing" in out
    assert slurm_lab.record("a")["attempts"][0]["slurm_job_id"].endswith("_0")
    assert slurm_lab.run(*submit, *script(slurm_lab)).returncode == 0
    eventually(lambda: not slurm.squeue(), "the array's end")
    assert causes(slurm_lab, "exp", "a") == ["worker_lost", "ok"]
