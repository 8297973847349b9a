"""What is planned, what is refused, and that both happen before anything is created."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from scene_files import write_scene

from preprocess.faults import FaultsError
from preprocess.layout import SceneFolder
from training.plan.make_plan import make_plan
from training.plan.options import LaunchOptions, checked_options
from training.slurm.times import seconds_of
from training.system.paths import resolve_roots

MODE = "run_mode=difix_data_generation_generate"
EVALUATE = "run_mode=evaluate"


@pytest.fixture
def options(lab, monkeypatch):
    """Options of a launch of the project's own trainer in this lab."""
    for key, value in lab.environment.items():
        monkeypatch.setenv(key, value)

    def build(**values):
        given = {"exp_name": "exp", "scenes_dir": str(lab.scenes_dir), "dry_run": True}
        return checked_options(LaunchOptions, {**given, **values})

    return build


def faults_of(options):
    with pytest.raises(FaultsError) as caught:
        make_plan(options)
    return [str(fault) for fault in caught.value.faults]


def test_faults_of_all_kinds_are_shown_at_once(lab, options):
    """A wrong override, a camera clash, a missing script's neighbours: one message, all in it."""
    lab.add_scene("a_1", cam_id=101)
    prefix = "train.nv_generation.trn_nv_gen"
    strategy = f"{prefix}.runtime_camera.strategy=static_orbti"
    wrong = ("sed=1", "train.optimization.epochs=five", strategy)
    faults = faults_of(options(overrides=wrong))
    assert len(faults) == 3
    assert "did you mean static_orbit?" in "\n".join(faults)
    faults = faults_of(options(overrides=(f"{prefix}.num_cameras=3",)))
    assert "101 is in 100..102" in faults[0]
    assert "start_camera_id" in faults[0]


@pytest.mark.parametrize(
    ("override", "word"),
    [
        ("sed=1", "sed=1"),
        ("train.optimization.epochs=five", "epochs=five"),
        ("seed=${nowhere}", "interpolation"),
        ("seed='a,b", "parsed"),
        ("shared.exp_name=x", "--exp-name"),
        ("shared={scene_name:x}", "--scene-name-includes"),
    ],
)
def test_a_wrong_override_hides_no_other_fault(lab, options, override, word):
    """Each is named beside camera clash, too many scenes, a missing body file, another config."""
    for name in ("a_1", "a_2"):
        lab.add_scene(name, cam_id=101)
    (lab.root / "mine.yaml").write_text("seed: 1")
    given = (override, "train.nv_generation.trn_nv_gen.num_cameras=3", "model.body_file=/none.npz")
    config = str(lab.root / "mine.yaml")
    found = "\n".join(faults_of(options(overrides=given, train_config=config, dry_run=False)))
    for each in (word, "101 is in 100..102", "2 scenes match", "/none.npz", "train.yaml"):
        assert each in found


@pytest.mark.parametrize(("number", "lines"), [(2, 9), (300, 3)])
def test_a_wrong_data_root_is_one_fault(lab, options, number, lines):
    """Not one for each of 2,000 scenes; a few are named one by one."""
    for each in range(number):
        lab.add_scene(f"s_{each:04}", raw_gt_dir_path=f"truth/{each}")
    with pytest.raises(FaultsError) as caught:
        make_plan(options(dry_run=False, run_all=True))
    text = str(caught.value)
    assert len(text.splitlines()) < lines
    assert str(lab.root / "scenes") in text
    assert "TS_SCENE_DATA_ROOT" in text
    dry = [line for line in make_plan(options(run_all=True)).warnings if "s_0000" in line]
    assert dry


def test_depth_is_asked_for_only_where_it_is_trained_on(lab, options):
    """A folder as Hi4D's is refused with the remedy, and planned where the remedy is taken."""
    lab.add_scene("pair_a", cam_id=28)
    folder = write_scene(lab.root / "scenes" / "pair_a").root
    shutil.rmtree(folder / "depths")
    remedy = "train.optimization.loss.depth=0"
    found = "\n".join(faults_of(options(dry_run=False)))
    assert f"pair_a: no depth at: {folder / 'depths' / '28'}" in found
    assert remedy in found
    warnings = make_plan(options(overrides=(remedy,))).warnings
    assert not [line for line in warnings if "pair_a" in line]
    evaluated = faults_of(options(dry_run=False, overrides=(EVALUATE,)))
    assert "no depth at" not in "\n".join(evaluated)


def test_files_that_cannot_be_trained_on_are_found_before_the_queue(lab, options):
    """A cut image, a mask that is missing, an array of another shape: all of all scenes at once."""
    for name in ("pair_a", "pair_b"):
        lab.add_scene(name, cam_id=28)
        folder = write_scene(lab.root / "scenes" / name, frames=(1, 2, 3))
    image, mask = folder.image(28, 2), folder.mask(28, "all", 1)
    image.write_bytes(image.read_bytes()[:-40])
    mask.unlink()
    np.savez(folder.camera(28, 3), intrinsics=np.eye(3)[None], extrinsics=np.eye(4)[None])
    SceneFolder(lab.root / "scenes" / "pair_a").smplx(1).write_bytes(b"")
    found = "\n".join(faults_of(options(dry_run=False, run_all=True)))
    assert f"{image} is not a whole picture" in found
    assert f"{mask}: No such file or directory" in found
    assert f"{folder.camera(28, 3)}: extrinsics is float64 (1, 4, 4)" in found
    assert "pair_a/smplx/000001.npz is empty" in found
    assert found.count("-> copy or make the file again, or name its frame in skip_frames.csv") == 3
    warnings = "\n".join(make_plan(options(run_all=True)).warnings)
    assert str(image) in warnings, "a dry run says it, and shows the plan"


STRICT = "difix_data_generation.strict"
CHECKPOINT = "difix_data_generation.require_checkpoint"


@pytest.mark.parametrize(
    ("scenes", "given"),
    [(["hi4d_pair15_a", "hi4d_pair17_b"], ""), (["hi4d_pair01_a"], "test_groups=[pair01]")],
)
def test_a_data_set_without_train_is_a_fault_before_the_queue(lab, options, scenes, given):
    """A warning where strict is off; nothing where none is merged or another group is there."""
    for name in scenes:
        lab.add_scene(name, synthetic={})
    more = (f"difix_data_generation.{given}",) if given else ()

    def build(*overrides, **values):
        return options(overrides=(MODE, *more, *overrides), run_all=True, **values)

    empty = "empty train"
    assert empty in "\n".join(faults_of(build()))
    assert empty in "\n".join(make_plan(build(f"{STRICT}=false")).warnings)
    assert empty not in str(make_plan(build(auto_schedule_aggregate=False)).warnings)
    lab.add_scene("hi4d_pair02_c", synthetic={})
    assert empty not in str(make_plan(build()).warnings)


@pytest.mark.parametrize("key", ["results_root", "scene_data_root", "scene_file"])
def test_an_override_of_a_folder_names_the_flag_instead(lab, options, key):
    """Trained elsewhere, a scene's outputs would be missing where they are expected."""
    lab.add_scene("a_1")
    (fault,) = faults_of(options(overrides=(f"shared.{key}=/elsewhere",)))
    assert "use --" in fault


def test_a_camera_clash_by_interpolation_is_found(lab, options):
    """num_cameras=${seed}: what counts is what it comes to."""
    lab.add_scene("a_1", cam_id=28)
    cameras = "train.nv_generation.trn_nv_gen"
    wrong = (f"{cameras}.num_cameras=${{seed}}", "seed=5", f"{cameras}.start_camera_id=26")
    assert "28 is in 26..30" in faults_of(options(overrides=wrong))[0]


def test_our_trainer_has_one_configuration(lab, options, tmp_path):
    """--train-config belongs to other scripts: ours would not read it."""
    lab.add_scene("a_1")
    (tmp_path / "mine.yaml").write_text("seed: 1")
    (fault,) = faults_of(options(train_config=str(tmp_path / "mine.yaml")))
    assert "train.yaml" in fault


def test_a_missing_script_names_its_neighbours(lab, options, tmp_path):
    """--train-script trane.py beside train.py."""
    lab.add_scene("a_1")
    (tmp_path / "train.py").touch()
    (fault,) = faults_of(options(train_script=str(tmp_path / "trane.py")))
    assert "did you mean train.py?" in fault


def test_an_unknown_run_mode_is_refused(lab, options):
    """run_mode=trian would only fail on the node."""
    lab.add_scene("a_1")
    assert "did you mean train?" in "\n".join(faults_of(options(overrides=("run_mode=trian",))))


def test_absent_scene_data_is_a_warning_in_a_dry_run_and_a_fault_in_a_launch(lab, options):
    """A dry run works on a laptop that has no data; a launch does not start without."""
    lab.add_scene("a_1")
    plan = make_plan(options())
    assert any("a_1" in warning for warning in plan.warnings)
    assert "a_1" in "\n".join(faults_of(options(dry_run=False)))


def test_the_plan_keeps_the_scene_as_it_was(lab, options):
    """Unknown keys of the scene's JSON are kept."""
    path = lab.add_scene("a_1", colour="blue")
    (scene,) = make_plan(options()).scenes
    assert scene.scene == json.loads(path.read_text())


def test_the_fingerprint_follows_what_decides_the_result(lab, options):
    """Overrides and the scene's JSON change it; folders and experiment loggers do not."""
    lab.add_scene("a_1")

    def print_of(**values):
        return make_plan(options(**values)).scenes[0].fingerprint

    first = print_of()
    assert print_of(overrides=("seed=0",)) == first
    assert print_of(overrides=("shared.wandb.enable=true",)) == first
    assert print_of(results_root=str(lab.root / "elsewhere")) == first
    assert print_of(overrides=("seed=1",)) != first
    lab.add_scene("a_1", ref_frame_idx=3)
    assert print_of() != first


def test_a_plan_says_which_scenes_its_registry_leaves_out(lab, options):
    """Files beside folders, in one line; the others are planned."""
    lab.add_scene("a_1")
    (lab.scenes_dir / "B.JSON").touch()
    plan = make_plan(options())
    assert [scene.name for scene in plan.scenes] == ["a_1"]
    (line,) = [warning for warning in plan.warnings if "left out" in warning]
    assert "B.JSON" in line


def test_a_broken_record_is_a_fault_and_not_success(lab, options):
    """Half a record: unknown is never done."""
    lab.add_scene("a_1")
    lab.output("a_1").mkdir(parents=True)
    (lab.output("a_1") / "run.json").write_text('{"status": "done"')
    assert "not a readable run record" in faults_of(options())[0]


def test_a_site_may_name_its_folders_in_a_file(tmp_path):
    """Flag before variable before paths.yaml before the default."""
    site = tmp_path / "paths.yaml"
    site.write_text("results_root: /site/results\nstate_root: /site/state\n")
    roots = resolve_roots({"results_root": "/flag"}, {"TS_STATE_ROOT": "/variable"}, site)
    assert str(roots.results_root) == "/flag"
    assert str(roots.state_root) == "/variable"
    assert resolve_roots({}, {}, site).results_root.as_posix() == "/site/results"
    assert resolve_roots({}, {}, site).scene_data_root.name == "scenes"
    site.write_text("result_root: /x\n")
    with pytest.raises(FaultsError, match="did you mean results_root"):
        resolve_roots({}, {}, site)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 5400),
        ("90:00", 5400),
        ("1:30:00", 5400),
        ("1-00", 86400),
        ("1-00:30", 88200),
        ("1-00:00:00", 86400),
    ],
)
def test_times_are_read_as_slurm_reads_them(text, seconds):
    """All of sbatch's formats."""
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        ({"exp_name": "a/b"}, "--exp-name"),
        ({"exp_name": ".hidden"}, "--exp-name"),
        ({"exp_name": "x" * 300}, "--exp-name"),
        ({"expect": ("/etc/passwd",)}, "--expect"),
        ({"expect": ("../*",)}, "--expect"),
        ({"expect": ("",)}, "--expect"),
        ({"expect": ("**foo",)}, "--expect"),
        ({"workers": -1}, "--workers"),
        ({"time_limit": "banana"}, "--time-limit"),
        ({"time_limit": "0"}, "--time-limit"),
        ({"slurm_array_parallelism": "two"}, "--slurm.array-parallelism"),
    ],
)
def test_a_wrong_option_is_named_as_it_was_typed(options, values, flag):
    """The message begins with the flag, not with a field of ours."""
    with pytest.raises(FaultsError) as caught:
        options(**values)
    assert str(caught.value).startswith(f"{flag} is not valid")


def test_data_is_not_made_of_scenes_that_were_never_trained(lab, options):
    """Refused with the remedy unless it is said; a loop, which trains first, is not asked."""
    for name in ("synthetic_pair01_a", "synthetic_pair02_b"):
        lab.add_scene(name, synthetic={})
    launch = {"overrides": (MODE,), "run_all": True}

    def said(**values) -> str:
        return "\n".join(make_plan(options(**{**launch, **values})).warnings)

    faults = "\n".join(faults_of(options(**launch, dry_run=False)))
    assert faults.count("the scene has no trained checkpoint") == 2
    assert f"set {CHECKPOINT}=false" in faults
    assert "no trained checkpoint" in said()
    assert "checkpoint" not in said(overrides=(MODE, f"{CHECKPOINT}=false"))
    fresh = {**launch, "overrides": ("run_mode=refiner_train",)}
    shutil.rmtree(lab.root / "scenes", ignore_errors=True)
    (fault,) = faults_of(options(**fresh, dry_run=False))
    assert "training set is not there" in fault
    trained = lab.output("synthetic_pair01_a") / "checkpoints" / "last.pt"
    trained.parent.mkdir(parents=True)
    trained.touch()
    faults = "\n".join(faults_of(options(**launch, dry_run=False, submit=True)))
    assert faults.count("the scene has no trained checkpoint") == 1


def test_the_reference_pages_submission_of_untrained_scenes_works_as_written(lab, options):
    """With a warning; the scenes' commands say that no model is needed."""
    lab.add_scene("synthetic_pair01_a", synthetic={})
    lab.add_scene("synthetic_pair02_b", synthetic={})
    plan = make_plan(options(overrides=(MODE,), run_all=True, submit=True))
    assert "grey people" in "\n".join(plan.warnings)
    assert all(f"{CHECKPOINT}=false" in scene.command for scene in plan.scenes)
    asked = (MODE, f"{CHECKPOINT}=true")
    refused = make_plan(options(overrides=asked, run_all=True, submit=True))
    assert "grey people" not in "\n".join(refused.warnings)


@pytest.mark.parametrize(
    ("numbers", "workers"),
    [
        ((2, 0, 1), 2),
        ((2, 0, 3), 6),
        ((2, 4, 3), 4),
        ((2, 9, 3), 6),
        ((2, 9, 1), 2),
        ((0, 0, 1), 1),
    ],
)
def test_workers_are_as_many_as_gpus_take_or_fewer(numbers, workers, lab, options, monkeypatch):
    """Numbers of GPUs, of --workers and of --scenes-per-gpu."""
    gpus, wanted, per_gpu = numbers
    ids = tuple(map(str, range(gpus)))
    for module in ("make_plan", "launch"):
        monkeypatch.setattr(f"training.plan.{module}.visible_gpus", lambda: ids)
    lab.add_scene("a_1")
    plan = make_plan(options(workers=wanted, scenes_per_gpu=per_gpu))
    assert (plan.workers, plan.gpus, plan.scenes_per_gpu) == (workers, ids, per_gpu)


@pytest.mark.parametrize(
    ("values", "warm"),
    [
        ({}, {True}),
        ({"workers": 2}, {False}),
        ({"workers": 1}, {True}),
        ({"cold_start": True}, {False}),
        ({"scenes": ["a_1"]}, {False}),
    ],
)
def test_scenes_that_follow_each_other_are_started_warm(values, warm, lab, options, monkeypatch):
    """Where each has a process of its own, or with --cold-start, none is."""
    monkeypatch.setattr("training.plan.make_plan.visible_gpus", tuple)
    lab.add_scene("a_1")
    lab.add_scene("a_2")
    chosen = options(**({"run_all": "scenes" not in values} | values))
    assert {scene.warm_start for scene in make_plan(chosen).scenes} == warm
