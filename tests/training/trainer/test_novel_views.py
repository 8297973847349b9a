"""Novel views are refined step by step from the source camera outwards, if so configured."""

from __future__ import annotations

import pytest
import torch

from preprocess.layout import SceneFolder
from preprocess.scene_data import load_image
from training.trainer import setup
from training.trainer.cameras.strategies import people_bounds
from training.trainer.config.compose import load_config
from training.trainer.config.schema import RuntimeCamera

SOURCE = 28
STEPWISE = (
    "train.nv_generation.trn_nv_gen.source=refined",
    "train.nv_generation.trn_nv_gen.num_cameras=4",
    "train.nv_generation.trn_nv_gen.runtime_camera.strategy=source_arc",
    "train.nv_generation.nv_gen_epoch=1",
    "train.optimization.epochs=2",
)


class Recorder:
    """A refiner that gives its n-th result the grey level n/100, and remembers references."""

    def __init__(self):
        self.references = []

    def refine(self, render, reference):
        self.references.append(round(100 * float(reference[0, 0, 0])))
        return torch.full_like(render, len(self.references) / 100)


@pytest.fixture
def recorder(monkeypatch):
    found = Recorder()
    how = {}

    def load(model_id, _device, **named):
        how.update(named, model_id=model_id)
        return found

    monkeypatch.setattr(setup, "load_refiner", load)
    monkeypatch.setattr("training.trainer.input_checks.missing_refiner", lambda _config: [])
    found.how = how
    return found


def test_each_views_reference_is_the_one_refined_before_it_on_its_side(tiny_scene, recorder):
    """Four cameras on an arc: two to each side, the inner one first, with the source's image."""
    assert (
        tiny_scene.train(
            *STEPWISE, "difix.trn_enable=true", "difix.is_prev_cam_always_source=false"
        )
        == 0
    )
    white = 100  # the source's background, at its corner
    frames = 5
    expected = [[white, 4 * f + 1, white, 4 * f + 3] for f in range(frames)]
    assert recorder.references == [each for four in expected for each in four]
    made = SceneFolder(tiny_scene.output() / "input_data")
    levels = {camera: int(load_image(made, camera, 1)[0, 0, 0]) for camera in made.cameras()}
    # On the arc, 100 and 101 are to one side, 102 and 103 to the other; 101 and 102 are inside.
    inner, outer = sorted((levels[101], levels[102])), sorted((levels[100], levels[103]))
    assert [round(100 * level / 255) for level in (*inner, *outer)] == [1, 3, 2, 4]


def test_by_default_every_reference_is_the_source_cameras_image(tiny_scene, recorder):
    assert tiny_scene.train(*STEPWISE, "train.difix.trn_enable=true") == 0
    assert set(recorder.references) == {100}


def test_keys_of_the_refiner_are_taken_in_both_places(tiny_scene, recorder):
    """train.difix is where the original has them; difix wins where both are set."""
    keys = ("train.difix.trn_enable=true", "train.difix.prompt=clean", "train.difix.timesteps=[99]")
    assert tiny_scene.train(*STEPWISE, *keys, "difix.prompt=cleaner") == 0
    assert recorder.how == {"model_id": "nvidia/difix_ref", "prompt": "cleaner", "timesteps": [99]}


def settings(**changes):
    config = load_config(["shared.scene_name=s", "shared.exp_name=e"])
    found = config.train.nv_generation.trn_nv_gen.runtime_camera
    return RuntimeCamera.model_validate(found.model_dump() | changes)


def lying_person():
    """Return the joints of a person who lies along x, head at 1.7 m, in two frames."""
    joints = torch.zeros(2, 1, 22, 3)
    joints[..., 12, 0], joints[..., 15, 0] = 1.5, 1.7
    return joints


def test_up_and_the_bodys_reach_can_be_given():
    """Where people lie, up isn't the way from pelvis to neck; reach adds to the joints' radius."""
    auto = people_bounds(lying_person(), settings())
    assert auto.up.tolist() == pytest.approx([1, 0, 0])
    assert auto.radius == pytest.approx(0.85 + 0.2)
    given = people_bounds(lying_person(), settings(up=[0.0, 2.0, 0.0], body_radius_m=0.5))
    assert given.up.tolist() == pytest.approx([0, 1, 0])
    assert given.radius == pytest.approx(0.85 + 0.5)
