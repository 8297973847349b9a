"""Synthetic scenes: what the builder writes is true, repeatable and whole."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_scene import SIZE, small

from preprocess.body.body_model import load_body, pose_vector
from preprocess.data_checks import missing_data
from preprocess.layout import EVERYONE, SceneFolder
from preprocess.registry import load_scenes
from preprocess.scene import Scene
from preprocess.scene_data import (
    load_body_parameters,
    load_camera,
    load_depth,
    load_image,
    load_mask,
)
from preprocess.synthetic import studio
from preprocess.synthetic.__main__ import SCENES_DIR
from preprocess.synthetic.build import ensure_scene_data
from preprocess.synthetic.mesh_renderer import project
from preprocess.synthetic.random_people import random_people
from preprocess.synthetic.recipe import CAMERAS, recipe_of
from preprocess.synthetic.scene_writer import View
from preprocess.synthetic.wardrobe import PEOPLE

SHIPPED = load_scenes(SCENES_DIR)


def views_of(scene: Scene) -> list[View]:
    opened = studio.open_studio(scene)
    return list(opened.views(opened.cameras))


def joints(folder: SceneFolder, frame: int) -> torch.Tensor:
    parameters = load_body_parameters(folder, frame)
    betas, trans = (torch.from_numpy(parameters[key]) for key in ("betas", "trans"))
    return load_body().joint_transforms(betas, pose_vector(parameters), trans)[1]


def test_the_training_folder_holds_the_source_camera_only_the_truth_all(
    built: tuple[SceneFolder, SceneFolder],
) -> None:
    training, truth = built
    assert training.cameras() == [28]
    assert truth.cameras() == [4, 28, 52]
    for folder in built:
        assert folder.frames(28) == [1, 2, 3, 4]
    assert training.skip_frames() == {3}
    assert truth.skip_frames() == frozenset()


def test_every_kind_of_data_can_be_read_and_has_one_size(
    built: tuple[SceneFolder, SceneFolder],
) -> None:
    for folder in built:
        for camera in folder.cameras():
            assert load_image(folder, camera, 2).shape == (SIZE, SIZE, 3)
            assert load_depth(folder, camera, 2).shape == (SIZE, SIZE)
            assert load_camera(folder, camera, 2).intrinsics[0, 2] == SIZE / 2


def test_both_layouts_hold_the_same_bodies(built: tuple[SceneFolder, SceneFolder]) -> None:
    for folder in built:
        smplx, smpl = (load_body_parameters(folder, 2, space) for space in ("smplx", "smpl"))
        assert (smplx["betas"] == smpl["betas"]).all()
        assert (smplx["root_pose"] == smpl["global_orient"]).all()
        assert (smplx["body_pose"] == smpl["body_pose"][:, :21]).all()
        assert (smplx["trans"] == smpl["transl"]).all()
        assert np.abs(smplx["body_pose"]).max() > 0.3


def test_masks_share_out_the_people_and_nothing_else_is_coloured(
    built: tuple[SceneFolder, SceneFolder],
) -> None:
    _, truth = built
    for camera in truth.cameras():
        everyone = load_mask(truth, camera, EVERYONE, 1)
        first, second = (load_mask(truth, camera, person, 1) for person in (0, 1))
        assert not (first & second).any()
        assert ((first | second) == everyone).all()
        assert ((load_depth(truth, camera, 1) > 0) == everyone).all()
        outside = load_image(truth, camera, 1)[~_grown(everyone)]
        assert (outside > 225).all()  # white but for the JPEG


def _grown(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask, 2)
    size = range(5)
    return np.any([padded[y : y + SIZE, x : x + SIZE] for y in size for x in size], axis=0)


def test_cameras_masks_depth_and_true_bodies_agree(
    built: tuple[SceneFolder, SceneFolder],
) -> None:
    """Each true joint lies in its person's mask, just behind the depth, unless another hides it."""
    _, truth = built
    inside, behind = [], []
    for camera in truth.cameras():
        view = load_camera(truth, camera, 2)
        everyone, depth = load_mask(truth, camera, EVERYONE, 2), load_depth(truth, camera, 2)
        points, distance = project(
            joints(truth, 2).reshape(-1, 3).numpy(), view.intrinsics, view.extrinsics
        )
        column, row = np.clip(points, 0, SIZE - 1).astype(int).T
        seen = everyone[row, column]
        inside.append(seen.mean())
        behind.append(distance[seen] - depth[row, column][seen])
    assert np.mean(inside) > 0.9
    assert np.median(np.concatenate(behind)) == pytest.approx(0.08, abs=0.07)
    assert np.concatenate(behind).min() > -0.1


def test_the_nearer_person_hides_the_farther() -> None:
    """From the side the dancers stand in line: the visible parts differ between opposite sides."""
    scene = small(action="wave", frames=1, cameras=list(CAMERAS))
    counts = {
        view.camera_id: np.bincount(view.person[view.person >= 0], minlength=2)
        for view in views_of(scene)
    }
    left, right = counts[4], counts[52]
    assert left[0] > 3 * left[1]
    assert right[1] > 3 * right[0]


def test_everyone_has_the_colours_of_the_wardrobe() -> None:
    """Skin, hair, shoes and both colours of both garments can be found in the picture."""
    recipe = {"action": "wave", "frames": 1, "image_size": 128, "cameras": [4, 28, 52, 88]}
    for names in (("ada", "ben"), ("cleo", "dan"), ("eve", "ada")):
        views = views_of(small(people=list(names), **recipe))
        for index, name in enumerate(names):
            pixels = np.concatenate([view.image[view.person == index] for view in views])
            person = PEOPLE[name]
            garments = (person.top, person.bottom)
            cloths = [color for cloth in garments for color in (cloth.first, cloth.second)]
            for color in (person.skin, person.hair, person.shoes, *cloths):
                assert _share(pixels, color) > 0.002, (name, color)


def test_random_people_are_the_same_for_the_same_seed_and_differ_from_all_others() -> None:
    """Body, clothes and colours; and a scene with them shows as many as are asked for."""
    many = [person for seed in range(20) for person in random_people(seed, 2)]
    assert len(set(many)) == 40
    assert random_people(7, 3)[:2] == random_people(7, 2)
    for person in many:
        garments = (person.top, person.bottom)
        assert all(min(cloth.first) < 245 and min(cloth.second) < 245 for cloth in garments)
    views = views_of(small(action="talk", frames=1, people={"random": 7, "count": 3}))
    assert {int(each) for view in views for each in np.unique(view.person)} == {-1, 0, 1, 2}


def _share(pixels: np.ndarray, color: tuple[int, int, int]) -> float:
    """Of the pixels, those of that colour, lit from a half to fully."""
    light = (pixels @ np.array(color)) / np.dot(color, color)
    off = np.abs(pixels - light[:, None] * np.array(color)).max(axis=1)
    return float(((off < 6) & (light > 0.5) & (light < 1.1)).mean())


def test_images_have_the_width_and_height_that_the_recipe_names(tmp_path: Path) -> None:
    """Images, masks and depth; everyone is inside, and true bodies lie where masks show them."""
    scene = small(frames=1, cameras=[28], image_size=[60, 90])
    ensure_scene_data([scene], tmp_path)
    folder = SceneFolder(tmp_path / "truth/small")
    everyone, view = load_mask(folder, 28, EVERYONE, 1), load_camera(folder, 28, 1)
    assert load_image(folder, 28, 1).shape == (90, 60, 3)
    assert load_depth(folder, 28, 1).shape == everyone.shape == (90, 60)
    assert view.intrinsics[:2, 2].tolist() == [30, 45]
    points, _ = project(joints(folder, 1).reshape(-1, 3).numpy(), view.intrinsics, view.extrinsics)
    column, row = points.astype(int).T
    assert everyone[row, column].mean() > 0.9


def test_a_scene_is_rendered_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 36 views a bounded number lies in memory at a time, whatever the length of the scene."""
    alive, most = weakref.WeakValueDictionary[int, Any](), list[int]()
    render = studio.render_people

    def counted(*arguments: Any) -> Any:
        seen = render(*arguments)
        alive[id(seen.image)] = seen.image
        return seen

    def count(*_: object) -> None:
        most.append(len(alive))

    monkeypatch.setattr(studio, "render_people", counted)
    monkeypatch.setattr(studio, "write_view", count)
    ensure_scene_data([small(frames=12, image_size=16)], tmp_path)
    assert len(most) == 36 + 12
    assert max(most) <= 2 * studio.MAX_WORKERS + 2


def test_feet_stand_on_the_floor(built: tuple[SceneFolder, SceneFolder]) -> None:
    _, truth = built
    parameters = load_body_parameters(truth, 2)
    betas, trans = (torch.from_numpy(parameters[key]) for key in ("betas", "trans"))
    vertices = load_body().vertices(betas, pose_vector(parameters), trans)
    assert vertices[..., 1].amin(dim=1).tolist() == pytest.approx([0, 0], abs=1e-3)


def test_initial_estimates_are_off_by_centimetres_and_far_off_in_skipped_frames(
    built: tuple[SceneFolder, SceneFolder],
) -> None:
    training, truth = built
    error = {
        frame: (joints(training, frame) - joints(truth, frame)).norm(dim=-1).mean().item()
        for frame in (1, 2, 3, 4)
    }
    for frame in (1, 2, 4):
        assert 0.02 < error[frame] < 0.15
        assert error[3] > 1.5 * error[frame]
    depths = [load_depth(folder, 28, 1) for folder in built]
    seen = depths[1] > 0
    assert 0.001 < np.abs(depths[0] - depths[1])[seen].mean() < 0.05
    assert ((depths[0] > 0) == seen).all()


def test_errors_of_estimates_are_correlated_over_time() -> None:
    """The error of one frame resembles the next frame's more than a distant one's."""
    from preprocess.synthetic.estimates import correlated_noise

    noise = correlated_noise(np.random.default_rng(0), 40, (2000,))
    correlation = np.corrcoef(noise)
    assert noise.std() == pytest.approx(1, abs=0.05)
    assert correlation[0, 1] == pytest.approx(0.76, abs=0.06)
    assert correlation[0, 30] == pytest.approx(0.4, abs=0.08)


def test_the_shipped_scenes_are_sound_and_of_two_pairs(tmp_path: Path) -> None:
    assert [scene for scene in SHIPPED if missing_data(scene, tmp_path)] == []
    assert {scene.seq_name.split("_")[1] for scene in SHIPPED} == {"pair01", "pair02"}
    assert sorted(len(recipe_of(scene).people) for scene in SHIPPED) == [2, 2, 2, 3]


@pytest.mark.parametrize("scene", SHIPPED, ids=lambda scene: scene.seq_name)
def test_in_every_shipped_scene_everybody_can_be_seen_by_the_source_camera(scene: Scene) -> None:
    changes = {"frames": 4, "image_size": SIZE, "cameras": [4, 16, 28], "skip_frames": []}
    recipe = dict(scene.synthetic or {}) | changes
    views = views_of(scene.model_copy(update={"synthetic": recipe}))
    for view in views:
        if view.camera_id == scene.cam_id:
            for person in range(len(recipe["people"])):
                own = view.person == person
                assert own.mean() > 0.02
                assert view.image[own].std(axis=0).mean() > 20
