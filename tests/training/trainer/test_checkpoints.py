"""A run that was stopped, killed or damaged continues as if it hadn't been, or says why not."""

from __future__ import annotations

import os
import shutil
import signal

import numpy as np
import pytest
import torch

from training.trainer import loop, novel_views
from training.trainer.evaluation import animations, evaluate
from training.trainer.gaussians.model import SceneModel
from training.trainer.gaussians.render import render

ONE_CAMERA = "train.evaluation.eval_cameras=[4]"
ONE_VIEW = (ONE_CAMERA, "train.evaluation.eval_frames=[1]")
SHORT = ("train.optimization.epochs=1", *ONE_VIEW)


def raise_at(monkeypatch, number, iteration):
    """Send the process a signal in the middle of an iteration (the first is 1)."""
    done = []

    def wrapped(stage):
        fit = loop.STAGES[stage]

        def interrupted(*arguments):
            done.append(1)
            if len(done) == iteration:
                os.kill(os.getpid(), number)
            return fit(*arguments)

        monkeypatch.setitem(loop.STAGES, stage, interrupted)

    for stage in loop.STAGES:
        wrapped(stage)


def assert_same(one, other, at=""):
    """Compare bit for bit, except for the time that was spent."""
    assert type(one) is type(other), at
    if isinstance(one, dict):
        assert one.keys() == other.keys(), at
        for key in one.keys() - {"seconds"}:
            assert_same(one[key], other[key], f"{at}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), at
        for index, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{at}[{index}]")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), at
    else:
        assert one == other, at


def test_a_stopped_run_goes_on_to_the_same_bits(tiny_scene, monkeypatch):
    """Stopped by SIGTERM in the pose stage, at an epoch's end, just after novel views, and late.

    Model, optimizers, position, metrics and novel views are those of an uninterrupted run.
    """
    settings = ("train.optimization.pose_epochs=1", *tiny_scene.rendered, ONE_CAMERA)
    assert tiny_scene.train(*settings, exp_name="whole") == 0
    for iteration in (3, 5, 6, 14):
        name = f"stopped_{iteration}"
        with monkeypatch.context() as patch:
            raise_at(patch, signal.SIGTERM, iteration)
            assert tiny_scene.train(*settings, exp_name=name) == 143
        assert tiny_scene.checkpoint(name)["position"]["iterations"] == iteration
        assert tiny_scene.train(*settings, exp_name=name) == 0
        assert_same(tiny_scene.checkpoint(name), tiny_scene.checkpoint("whole"))
        assert_same(tiny_scene.metrics(name) | {"exp_name": "whole"}, tiny_scene.metrics("whole"))
        for path in (tiny_scene.output("whole") / "input_data").rglob("*.png"):
            again = tiny_scene.output(name) / path.relative_to(tiny_scene.output("whole"))
            assert again.read_bytes() == path.read_bytes()


def test_a_run_stopped_within_a_batch_finishes_it_first(tiny_scene, monkeypatch):
    """Batches of two in epochs of five frames: stopped in the third frame, it goes on to four."""
    settings = ("train.optimization.batch_size=2", "train.optimization.grad_clip=0.1", *ONE_VIEW)
    assert tiny_scene.train(*settings, exp_name="whole") == 0
    with monkeypatch.context() as patch:
        raise_at(patch, signal.SIGTERM, 3)
        assert tiny_scene.train(*settings, exp_name="stopped") == 143
    assert tiny_scene.checkpoint("stopped")["position"]["iterations"] == 4
    assert tiny_scene.train(*settings, exp_name="stopped") == 0
    assert_same(tiny_scene.checkpoint("stopped"), tiny_scene.checkpoint("whole"))


def test_threads_cache_and_crop_do_not_change_what_is_trained(tiny_scene):
    """Views read by threads or not, kept or read again: the same bits, and the same checkpoint.

    Cutting images to the people changes rounding only, and is a setting that the checkpoint names.
    """
    assert tiny_scene.train(*tiny_scene.rendered, "data.loader_threads=3") == 0
    alone = ("data.loader_threads=0", "data.cache_mb=0")
    assert tiny_scene.train(*tiny_scene.rendered, *alone, exp_name="alone") == 0
    assert_same(tiny_scene.checkpoint(), tiny_scene.checkpoint("alone"))
    assert tiny_scene.train(*tiny_scene.rendered, *alone) == 0
    whole = "train.optimization.use_bbox_crop=false"
    assert tiny_scene.train(*tiny_scene.rendered, whole, exp_name="whole") == 0
    psnr = [tiny_scene.metrics(name)["psnr"] for name in ("exp", "whole")]
    assert psnr[0] == pytest.approx(psnr[1], abs=0.02)
    assert tiny_scene.train(*tiny_scene.rendered, whole) == 2


def test_every_second_frame_can_be_trained_on(tiny_scene):
    """Of frames 1 to 6 without frame 4: 1, 3 and 5; evaluations are of the same frames."""
    every = ("train.optimization.sample_every=2", "train.optimization.epochs=1")
    assert tiny_scene.train(*every) == 0
    assert tiny_scene.metrics()["iterations"] == 3
    rows = (tiny_scene.output() / "evaluation" / "poses_epoch_0001.csv").read_text("utf-8")
    assert {line.split(",")[0] for line in rows.splitlines()[1:]} == {"1", "3", "5"}


def test_skinning_weights_are_not_stored_and_come_back_exactly(tiny_scene, monkeypatch):
    """They would be half of a checkpoint of 100,000 Gaussians; a loaded model has the same bits."""
    models, load = [], SceneModel.load_state_dict

    def spy(model, *arguments, **named):
        first = model.gaussians.weights.clone()
        model.gaussians.weights.zero_()
        result = load(model, *arguments, **named)
        models.append((first, model.gaussians.weights))
        return result

    monkeypatch.setattr(SceneModel, "load_state_dict", spy)
    assert tiny_scene.train(*SHORT) == 0
    assert tiny_scene.train(*SHORT) == 0
    assert "gaussians.weights" not in tiny_scene.checkpoint()["model"]
    [(first, loaded)] = models
    assert torch.equal(loaded, first)
    assert loaded.any()


@pytest.mark.parametrize("strategy", ["default", "mcmc"])
def test_a_stopped_run_with_more_gaussians_goes_on_to_the_same_bits(
    tiny_scene, monkeypatch, strategy
):
    """Stopped while the strategy gathers, and after it has changed their number."""
    settings = (
        *ONE_VIEW,
        "train.optimization.pose_epochs=0",
        "train.optimization.epochs=4",
        f"model.densification={strategy}",
        "model.sh_degree=1",
    )
    assert tiny_scene.train(*settings, exp_name="whole") == 0
    assert tiny_scene.metrics("whole")["gaussians"] != 500
    for iteration in (3, 13):
        name = f"stopped_{iteration}"
        with monkeypatch.context() as patch:
            raise_at(patch, signal.SIGTERM, iteration)
            assert tiny_scene.train(*settings, exp_name=name) == 143
        assert tiny_scene.train(*settings, exp_name=name) == 0
        assert_same(tiny_scene.checkpoint(name), tiny_scene.checkpoint("whole"))


def test_another_seed_gives_another_model(tiny_scene):
    """So the test above can fail."""
    tiny_scene.train(*SHORT)
    tiny_scene.train(*SHORT, "seed=1", exp_name="other")
    with pytest.raises(AssertionError):
        assert_same(tiny_scene.checkpoint(), tiny_scene.checkpoint("other"))


def test_every_epoch_visits_every_frame_once_in_an_order_of_its_own():
    """Order and cameras depend on seed and epoch alone, whatever was trained before."""
    orders = [loop._epoch_order(0, epoch, 30)[0] for epoch in range(3)]
    assert all(sorted(order) == list(range(30)) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    assert loop._epoch_order(0, 1, 30) == loop._epoch_order(0, 1, 30) != loop._epoch_order(1, 1, 30)


def test_sigusr1_saves_and_training_goes_on(tiny_scene, monkeypatch, capsys):
    """The run ends as usual, and says where it saved."""
    raise_at(monkeypatch, signal.SIGUSR1, 7)
    assert tiny_scene.train() == 0
    assert "checkpoint written at epoch 1, step 2" in capsys.readouterr().out
    assert tiny_scene.metrics()["epoch"] == 3


def test_a_finished_run_started_again_trains_no_more(tiny_scene, monkeypatch):
    """Outputs that are missing are written again from the checkpoint."""
    assert tiny_scene.train() == 0
    metrics = tiny_scene.metrics()
    (tiny_scene.output() / "person_00.ply").unlink()
    (tiny_scene.output() / "metrics.json").unlink()
    raise_at(monkeypatch, signal.SIGTERM, 1)
    assert tiny_scene.train() == 0
    assert (tiny_scene.output() / "person_00.ply").is_file()
    assert_same(tiny_scene.metrics(), metrics)


def test_sigterm_does_not_wait_for_animations(tiny_scene, monkeypatch):
    """The run ends after the frame that is drawn; what was trained and measured is kept."""
    shown = (*SHORT, "train.evaluation.eval_animation_frames=50")
    drawn = []

    def drawing(*of_render):
        drawn.append(of_render)
        if len(drawn) == 2:
            signal.raise_signal(signal.SIGTERM)
        return render(*of_render)

    with monkeypatch.context() as patch:
        patch.setattr(animations, "render", drawing)
        assert tiny_scene.train(*shown) == 143
    assert len(drawn) == 2
    assert tiny_scene.checkpoint()["position"]["epoch"] == 1
    assert tiny_scene.metrics()["epoch"] == 1
    assert not list(tiny_scene.output().rglob("*.webp"))


def test_a_checkpoint_of_another_configuration_is_refused_by_key(tiny_scene, capsys):
    """Exit status 2, naming each differing key with both values."""
    assert tiny_scene.train(*SHORT) == 0
    capsys.readouterr()
    changed = (*SHORT, "seed=3", "train.optimization.loss.rgb=0.5")
    assert tiny_scene.train(*changed) == 2
    error = capsys.readouterr().err
    assert "another seed: 0 then, 3 now" in error
    assert "another train.optimization.loss.rgb: 0.8 then, 0.5 now" in error
    assert "epochs" not in error


def test_other_evaluations_and_the_other_place_of_a_key_are_no_other_configuration(tiny_scene):
    """How images are compared decides nothing; train.difix says what difix says."""
    keys = ("difix.prompt=clean", "train.evaluation.nvs_eval.downscale_factor=2")
    assert tiny_scene.train(*SHORT, "train.difix.prompt=clean") == 0
    assert tiny_scene.train(*SHORT, *keys) == 0


def test_before_and_after_are_of_the_same_views(tiny_scene, monkeypatch):
    """A stopped run goes on with evaluations of fewer frames: both are evaluated on these."""
    fewer = "train.evaluation.eval_frames=[1]"
    assert tiny_scene.train(fewer, exp_name="whole") == 0
    raise_at(monkeypatch, signal.SIGTERM, 7)
    assert tiny_scene.train() == 143
    assert tiny_scene.train(fewer) == 0
    assert tiny_scene.metrics()["before"] == tiny_scene.metrics("whole")["before"]


def test_a_checkpoint_of_other_frames_is_refused(tiny_scene, tmp_path, capsys):
    """As after a frame was named in skip_frames.csv; and with other estimates of these frames."""
    assert tiny_scene.train(*SHORT) == 0
    moved = tmp_path / "moved"
    shutil.copytree(tiny_scene.data, moved)
    elsewhere = f"shared.scene_data_root={moved}"
    folder = moved / tiny_scene.name
    (folder / "skip_frames.csv").write_text(f"2,{tiny_scene.skipped}", encoding="utf-8")
    assert tiny_scene.train(*SHORT, elsewhere) == 2
    error = capsys.readouterr().err
    assert "was trained on other frames or body parameters: pose (5, 2, 55, 3) then, (4, " in error
    assert "delete the checkpoint" in error
    (folder / "skip_frames.csv").write_text(str(tiny_scene.skipped), encoding="utf-8")
    assert tiny_scene.train(*SHORT, elsewhere) == 0
    path = folder / "smplx" / "000001.npz"
    arrays = dict(np.load(path))
    np.savez(path, **(arrays | {"trans": arrays["trans"] + np.float32(0.001)}))
    capsys.readouterr()
    assert tiny_scene.train(*SHORT, elsewhere) == 2
    assert "body parameters: other trans than now" in capsys.readouterr().err


@pytest.fixture(scope="module")
def evaluated(module_tiny_scene):
    """A run with three evaluations and novel views, as `whole`, and its settings."""
    settings = (*module_tiny_scene.rendered, "train.evaluation.eval_every_epoch=2")
    assert module_tiny_scene.train(*settings, exp_name="whole") == 0
    return module_tiny_scene, settings


@pytest.mark.parametrize("at", ["first", "middle", "views", "last"])
def test_sigterm_ends_what_is_between_epochs_at_once(tiny_scene, evaluated, monkeypatch, at):
    """Evaluations and novel views take minutes at full size; they are made again afterwards."""
    whole, settings = evaluated
    module, name, after = {
        "first": (evaluate, "_view_rows", 1),
        "middle": (evaluate, "_view_rows", 16),  # 5 frames in 3 cameras each time
        "views": (novel_views, "write_view", 1),
        "last": (evaluate, "_view_rows", 31),
    }[at]
    done, function = [], getattr(module, name)

    def interrupted(*arguments):
        done.append(1)
        if len(done) == after:
            os.kill(os.getpid(), signal.SIGTERM)
        return function(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, interrupted)
        assert tiny_scene.train(*settings) == 143
    assert len(done) < after + 3
    assert tiny_scene.train(*settings) == 0
    assert_same(tiny_scene.checkpoint(), whole.checkpoint("whole"))
    assert_same(tiny_scene.metrics() | {"exp_name": "whole"}, whole.metrics("whole"))
    tables = sorted(path.name for path in (tiny_scene.output() / "evaluation").glob("*.csv"))
    assert tables == sorted(
        path.name for path in (whole.output("whole") / "evaluation").glob("*.csv")
    )


def test_a_moved_folder_and_other_tracking_are_no_other_configuration(tiny_scene, tmp_path):
    """Where data lies and how a run is logged decide nothing."""
    assert tiny_scene.train(*SHORT) == 0
    moved = tmp_path / "moved"
    shutil.copytree(tiny_scene.data, moved)
    elsewhere = (f"shared.scene_data_root={moved}", "shared.tensorboard.enable=true")
    assert tiny_scene.train(*SHORT, *elsewhere) == 0


@pytest.mark.parametrize("damage", [lambda content: content[:5000], lambda _: os.urandom(9000)])
def test_after_a_damaged_checkpoint_training_goes_on_from_the_one_before(
    tiny_scene, evaluated, monkeypatch, capsys, damage
):
    """Cut or random bytes: at most an epoch is trained again, to the same bits."""
    whole, settings = evaluated
    with monkeypatch.context() as patch:
        raise_at(patch, signal.SIGTERM, 13)
        assert tiny_scene.train(*settings) == 143
    path = tiny_scene.output() / "checkpoints" / "last.pt"
    path.write_bytes(damage(path.read_bytes()))
    assert tiny_scene.train(*settings) == 0
    assert "training goes on from the checkpoint before it" in capsys.readouterr().out
    assert_same(tiny_scene.checkpoint(), whole.checkpoint("whole"))
    assert {each.name for each in path.parent.iterdir()} == {"last.pt", "last.pt.damaged-1"}


def test_missing_novel_views_are_not_made_from_a_later_model(tiny_scene, monkeypatch, capsys):
    """The run would differ from the one that was stopped: it says what to do."""
    with monkeypatch.context() as patch:
        raise_at(patch, signal.SIGTERM, 8)
        assert tiny_scene.train(*tiny_scene.rendered) == 143
    shutil.rmtree(tiny_scene.output() / "input_data")
    assert tiny_scene.train(*tiny_scene.rendered) == 1
    assert "delete the checkpoint" in capsys.readouterr().err
