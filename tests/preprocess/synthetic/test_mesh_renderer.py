"""The z-buffer renderer, against scenes whose picture can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from preprocess.synthetic.camera_ring import make_camera_ring
from preprocess.synthetic.mesh_renderer import project, rasterize

IDENTITY = np.hstack([np.eye(3), np.zeros((3, 1))])
INTRINSICS = np.array([[8.0, 0, 8], [0, 8, 8], [0, 0, 1]])
SIZE = 16
FACES = np.array([[0, 2, 1], [0, 3, 2]])  # counter-clockwise seen from the camera


def square(left: float, right: float, depth: float) -> np.ndarray:
    """Corners of an upright square from y = -0.5 to 0.5 before the camera at the origin."""
    return np.array(
        [[left, -0.5, depth], [right, -0.5, depth], [right, 0.5, depth], [left, 0.5, depth]]
    )


def seen(vertices: np.ndarray, faces: np.ndarray = FACES) -> dict[tuple[int, int], float]:
    """Depth by (row, column) of every covered pixel."""
    pixels, depth = project(vertices, INTRINSICS, IDENTITY)
    visible = rasterize(pixels, depth, faces, SIZE, SIZE)
    places = zip(visible.pixel // SIZE, visible.pixel % SIZE, strict=True)
    return dict(zip(places, visible.depth.tolist(), strict=True))


def test_a_square_covers_exactly_the_pixels_whose_centres_it_holds() -> None:
    """x and y from -0.5 to 0.5 at 1 m, focal length 8: pixels 4 to 11, once each."""
    picture = seen(square(-0.5, 0.5, 1))
    assert sorted(picture) == [(row, column) for row in range(4, 12) for column in range(4, 12)]
    assert set(picture.values()) == {1.0}


def test_the_nearer_surface_hides_the_farther_whatever_the_order() -> None:
    near, far = square(-0.5, 0.1, 1), square(-1, 1, 2)
    for first, second in ((near, far), (far, near)):
        picture = seen(np.concatenate([first, second]), np.concatenate([FACES, FACES + 4]))
        assert picture[8, 5] == 1
        assert picture[8, 10] == 2


def test_back_faces_and_what_is_behind_the_camera_are_not_seen() -> None:
    assert not seen(square(-0.5, 0.5, 1), FACES[:, ::-1])
    assert not seen(square(-0.5, 0.5, -1))


def test_what_reaches_past_the_border_is_cut_off() -> None:
    assert len(seen(square(-9, 9, 1))) == SIZE * 8
    assert not seen(square(5, 9, 1))


def test_values_are_interpolated_in_space_not_in_the_image() -> None:
    """On a slanted plane the depth is linear in space: 1/z is linear in the image."""
    vertices = square(-1, 1, 2)
    vertices[:, 2] += [0, 2, 2, 0]
    vertices[:, 0] *= vertices[:, 2] / 2
    vertices[:, 1] *= vertices[:, 2] / 2
    pixels, depth = project(vertices, INTRINSICS, IDENTITY)
    visible = rasterize(pixels, depth, FACES, SIZE, SIZE)
    column = visible.pixel % SIZE + 0.5
    assert visible.depth == pytest.approx(1 / np.interp(column, [4, 12], [1 / 2, 1 / 4]), rel=1e-5)
    assert visible.interpolate(depth, FACES) == pytest.approx(visible.depth, rel=1e-5)


def test_every_camera_of_a_ring_looks_at_the_target_upright() -> None:
    target = np.array([0.3, 1.0, -0.2])
    cameras = make_camera_ring(8, target, 3.6, (96, 96))
    above = target + np.array([0, 0.5, 0])
    for camera in cameras:
        (middle, upper), depth = project(
            np.stack([target, above]), camera.intrinsics, camera.extrinsics
        )
        assert middle == pytest.approx([48, 48])
        assert upper[0] == pytest.approx(48)
        assert upper[1] < 40
        assert depth[0] == pytest.approx(3.6)
        assert np.linalg.norm(camera.center - target) == pytest.approx(3.6)
    assert cameras[2].center[2] > 3  # the third looks along -z: the people face it
