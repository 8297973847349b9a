"""What a camera sees of dressed, posed people: image, masks with occlusion, depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocess.camera_ring import Camera
from preprocess.clothing import Landmarks, colors
from preprocess.mesh_renderer import Visible, project, rasterize, vertex_normals
from preprocess.wardrobe import Person

Array = NDArray[Any]

SAMPLES = 2  # a side: each pixel is the mean of SAMPLES² points
LIGHT = np.array([0.35, 0.75, 0.55])
AMBIENT, DIFFUSE = 0.62, 0.42


@dataclass(frozen=True)
class Dressed:
    """One person's clothed body: `faces` (F,3), resting `landmarks` of its V vertices, who."""

    person: Person
    faces: Array
    landmarks: Landmarks


@dataclass(frozen=True)
class Picture:
    """`image` (H,W,3) 8 bit on white, `person` (H,W) index of who is seen or -1, `depth` (H,W)
    float32 along the camera's z axis, metres, 0 where nobody is."""

    image: Array
    person: Array
    depth: Array


def take_picture(
    people: list[Dressed], vertices: list[Array], camera: Camera, size: int
) -> Picture:
    """Render posed `vertices` (V,3) of each person with `camera`, `size` pixels square."""
    fine = size * SAMPLES
    offsets = np.cumsum([0] + [len(each) for each in vertices])
    faces = np.concatenate([d.faces + o for d, o in zip(people, offsets[:-1], strict=True)])
    scale = np.diag([SAMPLES, SAMPLES, 1.0])
    pixels, depth = project(np.concatenate(vertices), scale @ camera.intrinsics, camera.extrinsics)
    seen = rasterize(pixels, depth, faces, fine, fine)
    owner = np.searchsorted(offsets, faces[seen.face, 0], side="right") - 1
    shown = _shade(people, vertices, seen, owner, faces, offsets)
    return _downsample(seen, shown, owner, len(people), size)


def _shade(
    people: list[Dressed],
    vertices: list[Array],
    seen: Visible,
    owner: Array,
    faces: Array,
    offsets: Array,
) -> Array:
    """Colour of every visible point: cloth times Lambert's law."""
    result = np.empty((len(owner), 3))
    light = LIGHT / np.linalg.norm(LIGHT)
    for index, dressed in enumerate(people):
        part = seen.only(owner == index)
        own_faces = faces - offsets[index]
        lit = vertex_normals(vertices[index], dressed.faces) @ light
        brightness = part.interpolate(lit, own_faces)
        where = Landmarks(*(part.interpolate(each, own_faces) for each in dressed.landmarks))
        shading = AMBIENT + DIFFUSE * np.clip(brightness, 0, 1)
        result[owner == index] = colors(dressed.person, where) * shading[:, None]
    return np.clip(result, 0, 1)


def _downsample(seen: Visible, shown: Array, owner: Array, people: int, size: int) -> Picture:
    fine = size * SAMPLES
    row, column = seen.pixel // fine // SAMPLES, seen.pixel % fine // SAMPLES
    pixel = row * size + column
    points = SAMPLES**2
    counts = np.bincount(owner * size**2 + pixel, minlength=people * size**2)
    counts = counts.reshape(people, size**2)
    person = np.where(counts.sum(axis=0) * 2 >= points, counts.argmax(axis=0), -1)
    image = np.stack([np.bincount(pixel, band, size**2) for band in shown.T], axis=1)
    image = (image + (points - counts.sum(axis=0))[:, None]) / points
    own = owner == person[pixel]
    total = np.bincount(pixel[own], seen.depth[own], size**2)
    depth = total / np.maximum(np.bincount(pixel[own], minlength=size**2), 1)
    return Picture(
        image=(image * 255).round().astype(np.uint8).reshape(size, size, 3),
        person=person.reshape(size, size),
        depth=depth.astype(np.float32).reshape(size, size),
    )
