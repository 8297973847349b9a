"""What a camera sees of dressed, posed people: image, masks with occlusion, depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocess.synthetic.camera_ring import Camera
from preprocess.synthetic.clothing import Landmarks, colors
from preprocess.synthetic.mesh_renderer import Visible, project, rasterize, vertex_normals
from preprocess.synthetic.wardrobe import Person

Array = NDArray[Any]

SAMPLES = 2  # a side: each pixel is the mean of SAMPLES² points
LIGHT = np.array([0.35, 0.75, 0.55]) / np.linalg.norm([0.35, 0.75, 0.55])
AMBIENT, DIFFUSE = 0.62, 0.42


@dataclass(frozen=True)
class Cast:
    """P people with the same mesh: `faces` (F,3), who each is, and the landmarks of V vertices."""

    faces: Array
    people: tuple[Person, ...]
    landmarks: tuple[Landmarks, ...]


@dataclass(frozen=True)
class Picture:
    """What one camera saw at one moment, on white.

    `image` (H,W,3) 8 bit, `person` (H,W) index of who is seen or -1, `depth` (H,W) float32 along
    the camera's z axis, metres, 0 where nobody is.
    """

    image: Array
    person: Array
    depth: Array


def take_picture(cast: Cast, vertices: Array, camera: Camera, size: int) -> Picture:
    """Render the posed `vertices` (P,V,3) of everyone with `camera`, `size` pixels square."""
    people, count, _ = vertices.shape
    faces = cast.faces + count * np.arange(people)[:, None, None]
    intrinsics = np.diag([SAMPLES, SAMPLES, 1.0]) @ camera.intrinsics
    pixels, depth = project(vertices.reshape(-1, 3), intrinsics, camera.extrinsics)
    seen = rasterize(pixels, depth, faces.reshape(-1, 3), size * SAMPLES, size * SAMPLES)
    owner = seen.face // len(cast.faces)
    return _downsampled(seen, _shaded(cast, vertices, seen, owner), owner, size)


def _shaded(cast: Cast, vertices: Array, seen: Visible, owner: Array) -> Array:
    """Colour (N,3) of every visible point: cloth times Lambert's law."""
    result = np.empty((len(owner), 3))
    for index, person in enumerate(cast.people):
        own = seen.of_mesh(index, len(cast.faces))
        lit = vertex_normals(vertices[index], cast.faces) @ LIGHT
        shading = AMBIENT + DIFFUSE * np.clip(own.interpolate(lit, cast.faces), 0, 1)
        where = (own.interpolate(each, cast.faces) for each in cast.landmarks[index])
        result[owner == index] = colors(person, Landmarks(*where)) * shading[:, None]
    return np.clip(result, 0, 1)


def _downsampled(seen: Visible, shown: Array, owner: Array, size: int) -> Picture:
    """Means over each pixel's points; a pixel belongs to whom most of its points show."""
    fine, points, pixels = size * SAMPLES, SAMPLES**2, size**2
    pixel = (seen.pixel // fine // SAMPLES) * size + seen.pixel % fine // SAMPLES
    people = int(owner.max(initial=0)) + 1
    counts = np.bincount(owner * pixels + pixel, minlength=people * pixels).reshape(people, -1)
    covered = counts.sum(axis=0)
    person = np.where(covered * 2 >= points, counts.argmax(axis=0), -1)
    image = np.stack([np.bincount(pixel, band, pixels) for band in shown.T], axis=1)
    image = (image + (points - covered)[:, None]) / points
    own = owner == person[pixel]
    total = np.bincount(pixel[own], seen.depth[own], pixels)
    depth = total / np.maximum(np.bincount(pixel[own], minlength=pixels), 1)
    return Picture(
        image=(image * 255).round().astype(np.uint8).reshape(size, size, 3),
        person=person.reshape(size, size),
        depth=depth.astype(np.float32).reshape(size, size),
    )
