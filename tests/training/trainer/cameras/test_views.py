"""Views: stored small, read ahead, kept within bounds, cut to the people without a difference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from preprocess.body.body_model import load_body
from preprocess.layout import EVERYONE, SceneFolder
from preprocess.scene_data import SceneDataError, load_depth, load_image, load_mask
from training.trainer.cameras.camera import Camera, PixelBox
from training.trainer.cameras.strategies import look_at
from training.trainer.cameras.view import View, ViewCache
from training.trainer.cameras.views import ViewReader, load_ahead
from training.trainer.config.compose import load_config
from training.trainer.gaussians.body_parameters import BodyParameters
from training.trainer.gaussians.model import Gaussians, Poses, SceneModel
from training.trainer.gaussians.render import covered_box, render
from training.trainer.gaussians.surface import spread_points
from training.trainer.losses import SSIM_WINDOW, color_loss, shape_loss, total

FRAMES = (1, 2, 3, 5, 6)
CPU = torch.device("cpu")


def reader(built, cache_bytes=0, threads=0, frames=FRAMES):
    folder = SceneFolder(built[1] / "truth" / "tiny_scene")
    return ViewReader(folder, frames, 2, 0.5, CPU, threads, ViewCache(cache_bytes))


def assert_equal(one: View, other: View) -> None:
    assert (one.camera_id, one.frame, one.index) == (other.camera_id, other.frame, other.index)
    for name in ("image", "masks", "depth"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name


def test_a_stored_view_gives_back_exactly_what_the_files_hold(built):
    """Image on the background, masks and depth, of several cameras."""
    views = reader(built)
    for camera in (4, 28):
        view, frame = views.view(camera, 3), FRAMES[3]
        everyone = load_mask(views.folder, camera, EVERYONE, frame)
        image = torch.from_numpy(load_image(views.folder, camera, frame).copy()).float() / 255
        shown = torch.where(torch.from_numpy(everyone)[..., None], image, 0.5)
        assert torch.equal(view.image, shown)
        for person in (0, 1):
            mask = torch.from_numpy(load_mask(views.folder, camera, person, frame)).float()
            assert torch.equal(view.masks[..., person], mask)
        assert torch.equal(
            view.depth, torch.from_numpy(load_depth(views.folder, camera, frame).copy())
        )


def test_a_stored_view_needs_a_fraction_of_the_files_pixels(built):
    """A bit a mask, and what is cut off is background: from the side less than half is kept."""
    stored = reader(built).stored(4, 0)
    pixels = stored.camera.width * stored.camera.height
    assert stored.bytes < pixels * (3 + 3 + 4) / 2


def test_a_part_of_a_view_is_that_part_of_the_whole_one(built):
    """Pixels, masks, depth and the ray of a pixel are the same; the box may be cut anywhere."""
    stored = reader(built).stored(28, 0)
    whole = stored.view(0.5, CPU)
    inner = stored.people.grown(-3)
    for box in (PixelBox(20, 10, 50, 64), PixelBox(0, 0, 64, 64), stored.people, inner):
        part = stored.view(0.5, CPU, box)
        for name in ("image", "masks", "depth"):
            assert torch.equal(getattr(part, name), getattr(whole, name)[box.slices]), name
        shift = whole.camera.intrinsics[:2, 2] - part.camera.intrinsics[:2, 2]
        assert shift.tolist() == [box.left, box.top]
        assert (part.camera.width, part.camera.height) == (box.width, box.height)


def test_a_view_without_people_is_plain_background(built):
    """Nothing is stored of it but its depth."""
    stored = reader(built).stored(28, 0)
    nobody = PixelBox(0, 0, 0, 0)
    empty = replace(
        stored, people=nobody, image=stored.image[:0, :0], bits=stored.bits[:0, :0], depth=None
    )
    view = empty.view(0.5, CPU)
    assert (view.image == 0.5).all()
    assert view.masks.shape == (64, 64, 2)
    assert not view.masks.any()


def test_the_cache_keeps_what_fits_and_never_more(built):
    """Bounded in bytes; a view that is kept is not read again, one that did not fit is."""
    size = reader(built).stored(28, 0).bytes
    views = reader(built, cache_bytes=int(2.5 * size))
    first = [views.stored(28, index) for index in range(len(FRAMES))]
    assert 0 < views.cache.bytes <= views.cache.max_bytes
    again = [views.stored(28, index) for index in range(len(FRAMES))]
    kept = [one is other for one, other in zip(first, again, strict=True)]
    assert kept[0]
    assert not all(kept)
    for one, other in zip(first, again, strict=True):
        assert_equal(one.view(0.5, CPU), other.view(0.5, CPU))


def test_caches_of_two_folders_share_one_bound_unless_told_otherwise(built):
    source = reader(built, cache_bytes=10**6)
    assert source.for_folder(source.folder).cache is source.cache
    assert source.for_folder(source.folder, ViewCache(5)).cache.max_bytes == 5


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_views_come_in_order_with_any_number_of_threads(built, threads):
    wanted = [(camera, index) for camera in (28, 4) for index in (3, 0, 4, 1)]
    expected = [reader(built).view(*each) for each in wanted]
    for one, other in zip(reader(built, threads=threads).views(wanted), expected, strict=True):
        assert_equal(one, other)


def test_no_more_is_read_ahead_than_the_threads_need():
    """Of 100 tasks a few are started before the first result is taken: memory stays bounded."""
    started = []

    def tasks():
        for number in range(100):
            started.append(number)
            yield lambda number=number: number

    results = load_ahead(tasks(), 2)
    assert next(results) == 0
    assert len(started) == 1 + 2 * 2
    assert list(results) == list(range(1, 100))


def test_an_unreadable_view_is_reported_where_it_is_needed(built):
    """Read ahead, it comes after the views before it."""
    views = reader(built, threads=2, frames=(1, 2, 999))
    results = views.views([(28, 0), (28, 1), (28, 2)])
    assert [next(results).frame, next(results).frame] == [1, 2]
    with pytest.raises(SceneDataError, match=r"000999\.jpg"):
        next(results)


def test_a_mask_of_another_size_is_named(built, tmp_path):
    """With both sizes, whoever's mask it is."""
    views = reader(built)
    folder = SceneFolder(tmp_path)
    for path in (views.folder.image(28, 1), views.folder.camera(28, 1)):
        target = tmp_path / path.relative_to(views.folder.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    for person, side in ((EVERYONE, 64), (0, 64), (1, 32)):
        folder.mask(28, person, 1).parent.mkdir(parents=True)
        Image.fromarray(np.zeros((side, 64), np.uint8)).save(folder.mask(28, person, 1))
    with pytest.raises(SceneDataError, match=r"mask 1 of frame 1 is \(32, 64\).*\(64, 64\)"):
        views.for_folder(folder).view(28, 0)


@pytest.fixture(scope="module")
def model():
    """Two people at a place and in a pose that the images don't show, partly outside of them."""
    body, generator = load_body(), torch.Generator().manual_seed(0)
    betas = torch.zeros(2, 6)
    pose = 0.2 * torch.randn(1, 2, 22, 3, generator=generator)
    trans = torch.tensor([[[-0.6, 0.8, 0.0], [0.7, 1.0, 0.4]]])
    surfaces = [spread_points(body, each, 400, generator) for each in betas]
    return SceneModel(body, Poses(BodyParameters(betas, pose, trans)), Gaussians(surfaces))


def test_the_loss_of_the_part_with_people_is_that_of_the_whole_image(built, model):
    """All image terms and their gradients, though the model covers other pixels than the masks."""
    stored = reader(built).stored(4, 0)
    weights = load_config(["shared.scene_name=a", "shared.exp_name=b"]).train.optimization.loss
    covered = covered_box(model.gaussians_at(0), stored.camera)
    box = stored.people.union(covered).grown(SSIM_WINDOW).intersection(stored.camera.image_box)
    assert box.width * box.height < 0.8 * 64 * 64
    results = []
    for view in (stored.view(1.0, CPU), stored.view(1.0, CPU, box)):
        model.zero_grad(set_to_none=True)
        rendered = render(model.gaussians_at(0), view.camera, 1.0)
        terms = shape_loss(rendered, view, weights)
        for edges in (False, True):
            colors = color_loss(rendered, view, weights, edges=edges)
            terms |= {f"{name}, edges {edges}": term for name, term in colors.items()}
        torch.autograd.backward(total(terms))
        gradients = [model.gaussians.colors.grad, model.gaussians.offsets.grad]
        results.append([*terms.values(), *gradients, model.poses.shifts.weight.grad.to_dense()])
    for whole, part in zip(*results, strict=True):
        torch.testing.assert_close(
            part, whole, rtol=1e-5, atol=1e-5 * float(whole.detach().abs().max())
        )


def test_nothing_is_rendered_outside_the_covered_box(model):
    """The box holds every pixel with any alpha, and is not the whole image."""
    eye, up = torch.tensor([0.0, 1.0, 4.5]), torch.tensor([0.0, 1.0, 0.0])
    intrinsics = torch.tensor([[90.0, 0, 48], [0, 90.0, 40], [0, 0, 1]])
    camera = Camera(look_at(eye, torch.tensor([0.0, 1.0, 0.0]), up), intrinsics, 96, 80)
    gaussians = model.gaussians_at(0)
    box = covered_box(gaussians, camera)
    alpha = render(gaussians, camera, 1.0).alpha.detach().numpy()
    outside = alpha.copy()
    outside[box.slices] = 0
    assert alpha.any()
    assert not outside.any()
    assert box.width * box.height < 96 * 80 * 0.8


def test_people_behind_the_camera_cover_nothing(model):
    camera = Camera(torch.diag(torch.tensor([1.0, -1, -1, 1])), torch.eye(3), 8, 8)
    camera.viewmat[2, 3] = -50.0
    box = covered_box(model.gaussians_at(0), camera)
    assert not (box.width and box.height)


def test_boxes_are_cut_grown_and_united():
    box = PixelBox(2, 3, 5, 7)
    assert box.grown(2) == PixelBox(0, 1, 7, 9)
    assert box.union(PixelBox(4, 0, 9, 4)) == PixelBox(2, 0, 9, 7)
    assert box.union(PixelBox(0, 0, 0, 0)) == box == PixelBox(0, 0, 0, 0).union(box)
    assert box.intersection(PixelBox(4, 0, 9, 4)) == PixelBox(4, 3, 5, 4)
    assert box.intersection(PixelBox(6, 8, 9, 9)).width == 0
    pixels = np.zeros((9, 9))
    pixels[3:7, 2:5] = 1
    assert PixelBox.of(pixels) == box
    assert PixelBox.of(np.zeros((4, 4))) == PixelBox(0, 0, 0, 0)
