"""Render dressed, posed people: image, masks with occlusion, depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocess.synthetic.camera_ring import Camera
from preprocess.synthetic.clothing import Landmarks, point_colors
from preprocess.synthetic.mesh_renderer import VisiblePoints, project, rasterize, vertex_normals
from preprocess.synthetic.wardrobe import Person

Array = NDArray[Any]

SAMPLES = 2  # a side: each pixel is the mean of SAMPLES² points
LIGHT = np.array([0.35, 0.75, 0.55]) / np.linalg.norm([0.35, 0.75, 0.55])
AMBIENT, DIFFUSE = 0.62, 0.42


@dataclass(frozen=True)
class DressedPeople:
    """P people with the same mesh: `faces` (F,3), their outfits, and landmarks of all vertices."""

    faces: Array
    people: tuple[Person, ...]
    landmarks: tuple[Landmarks, ...]


@dataclass(frozen=True)
class RenderedImage:
    """What one camera sees at one moment, on white.

    `image` (H,W,3) 8 bit, `person` (H,W) index of who is seen or -1, `depth` (H,W) float32 along
    the camera's z axis, metres, 0 where nobody is.
    """

    image: Array
    person: Array
    depth: Array


def render_people(
    dressed: DressedPeople, vertices: Array, camera: Camera, size: tuple[int, int]
) -> RenderedImage:
    """Render the posed `vertices` (P,V,3) of everyone with `camera`; `size` is width, height."""
    people, count, _ = vertices.shape
    faces = dressed.faces + count * np.arange(people)[:, None, None]
    intrinsics = np.diag([SAMPLES, SAMPLES, 1.0]) @ camera.intrinsics
    pixels, depth = project(vertices.reshape(-1, 3), intrinsics, camera.extrinsics)
    seen = rasterize(pixels, depth, faces.reshape(-1, 3), size[0] * SAMPLES, size[1] * SAMPLES)
    owner = seen.face // len(dressed.faces)
    return _downsample(seen, _shade(dressed, vertices, seen, owner), owner, size)


def _shade(dressed: DressedPeople, vertices: Array, seen: VisiblePoints, owner: Array) -> Array:
    """Return the colour (N,3) of every visible point: cloth times Lambert's law."""
    result = np.empty((len(owner), 3))
    for index, person in enumerate(dressed.people):
        own = seen.of_mesh(index, len(dressed.faces))
        lit = vertex_normals(vertices[index], dressed.faces) @ LIGHT
        shading = AMBIENT + DIFFUSE * np.clip(own.interpolate(lit, dressed.faces), 0, 1)
        landmarks = (own.interpolate(each, dressed.faces) for each in dressed.landmarks[index])
        result[owner == index] = point_colors(person, Landmarks(*landmarks)) * shading[:, None]
    return np.clip(result, 0, 1)


def _downsample(
    seen: VisiblePoints, shown: Array, owner: Array, size: tuple[int, int]
) -> RenderedImage:
    """Average each pixel's sample points; a pixel belongs to the person that most of them show."""
    width, height = size
    fine, points, pixels = width * SAMPLES, SAMPLES**2, width * height
    pixel = (seen.pixel // fine // SAMPLES) * width + seen.pixel % fine // SAMPLES
    people = int(owner.max(initial=0)) + 1
    counts = np.bincount(owner * pixels + pixel, minlength=people * pixels).reshape(people, -1)
    covered = counts.sum(axis=0)
    person = np.where(covered * 2 >= points, counts.argmax(axis=0), -1)
    image = np.stack([np.bincount(pixel, band, pixels) for band in shown.T], axis=1)
    image = (image + (points - covered)[:, None]) / points
    own = owner == person[pixel]
    total = np.bincount(pixel[own], seen.depth[own], pixels)
    depth = total / np.maximum(np.bincount(pixel[own], minlength=pixels), 1)
    return RenderedImage(
        image=(image * 255).round().astype(np.uint8).reshape(height, width, 3),
        person=person.reshape(height, width),
        depth=depth.astype(np.float32).reshape(height, width),
    )
