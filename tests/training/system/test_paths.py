"""Where outputs of scenes and experiments lie below the roots."""

from __future__ import annotations

from training.system.paths import Roots


def test_output_folders_are_found_by_a_file_in_them(tmp_path):
    """Of one experiment and run mode's folder, by scene; folders without the file are skipped."""
    roots = Roots(results_root=tmp_path, scene_data_root=tmp_path / "d", state_root=tmp_path / "s")
    assert roots.output_folder("a", "exp") == tmp_path / "a" / "exp"
    assert roots.experiment_folder("exp") == tmp_path / "_experiments" / "exp"
    for scene, exp_name, subdir in (
        ("b", "exp", ""),
        ("a", "exp", ""),
        ("a", "other", ""),
        ("a", "exp", "x"),
    ):
        folder = roots.output_folder(scene, exp_name, subdir)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.json").touch()
    roots.output_folder("c", "exp").mkdir(parents=True)
    found = roots.outputs_with("run.json", "exp")
    assert list(found.items()) == [("a", tmp_path / "a" / "exp"), ("b", tmp_path / "b" / "exp")]
    assert roots.outputs_with("run.json", "exp", "x") == {"a": tmp_path / "a" / "exp" / "x"}
    assert roots.outputs_with("metrics.json", "exp") == {}


def test_the_trainer_gets_the_roots_that_it_reads(tmp_path):
    """By the variables that `train.yaml` names, and the one below which it keeps compiled code."""
    roots = Roots(results_root=tmp_path, scene_data_root=tmp_path / "d", state_root=tmp_path / "s")
    assert roots.environment() == {
        "TS_RESULTS_ROOT": str(tmp_path),
        "TS_SCENE_DATA_ROOT": str(tmp_path / "d"),
        "TS_STATE_ROOT": str(tmp_path / "s"),
    }
