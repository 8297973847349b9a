"""A z-buffer renderer for triangle meshes: which face each pixel sees, where on it, how far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
NEAR = 0.05  # metres
SLIVER = 1e-9  # twice the area, in pixels, below which a face is seen from its edge


@dataclass(frozen=True)
class VisiblePoints:
    """What the N pixels that see a surface see; depth is along the camera's z axis.

    `pixel` (N,) flat index y*width+x, `face` (N,), `weights` (N,3) perspective-correct barycentric
    coordinates, `depth` (N,).
    """

    pixel: Array
    face: Array
    weights: Array
    depth: Array

    def of_mesh(self, index: int, faces: int) -> VisiblePoints:
        """Return the points on one of several meshes, which have `faces` consecutive faces each."""
        own = self.face // faces == index
        return VisiblePoints(
            self.pixel[own], self.face[own] % faces, self.weights[own], self.depth[own]
        )

    def interpolate(self, values: Array, faces: Array) -> Array:
        """Interpolate per-vertex `values` (V,) or (V,C) at the visible points: (N,) or (N,C)."""
        corners: Array = values[faces[self.face]]
        return np.asarray(np.einsum("nk,nk...->n...", self.weights, corners))


def project(points: Array, intrinsics: Array, extrinsics: Array) -> tuple[Array, Array]:
    """Return pixel positions (V,2) and depths (V,) of world `points` (V,3).

    OpenCV axes, pixel centres at half-integers; `intrinsics` (3,3), `extrinsics` (3,4)
    world-to-camera.
    """
    local = points @ extrinsics[:, :3].T + extrinsics[:, 3]
    depth = local[:, 2]
    pixels = local @ intrinsics.T
    return pixels[:, :2] / np.maximum(depth, NEAR)[:, None], depth


def rasterize(pixels: Array, depth: Array, faces: Array, width: int, height: int) -> VisiblePoints:
    """Return the nearest front face at every pixel's centre.

    `pixels` (V,2) and `depth` (V,) from `project`, `faces` (F,3), counter-clockwise seen from
    outside. Faces with a corner nearer than NEAR are left out.
    """
    corners = pixels[faces].astype(np.float32)
    area = _edge(corners[:, 0], corners[:, 1], corners[:, 2])
    # Image y points down, so faces that are seen from outside have negative area.
    kept = np.flatnonzero((area < -SLIVER) & (depth[faces] > NEAR).all(axis=1))
    face, x, y = _candidates(corners[kept], width, height)
    weights = _barycentric(corners[kept], area[kept], face, x + 0.5, y + 0.5)
    inside = (weights >= 0).all(axis=1)
    face, pixel, weights = kept[face[inside]], (y * width + x)[inside], weights[inside]
    inverse = weights / depth[faces[face]]
    nearness = inverse.sum(axis=1)
    winner = np.full(width * height, -1)
    order = np.argsort(nearness)
    winner[pixel[order]] = order  # of repeated indices numpy keeps the last: the nearest
    seen = winner[winner >= 0]
    perspective = inverse[seen] / nearness[seen, None]
    return VisiblePoints(pixel[seen], face[seen], perspective, 1 / nearness[seen])


def _edge(a: Array, b: Array, c: Array) -> Array:
    """Return twice the signed area of the triangles a b c, (N,2) each."""
    (ab_x, ab_y), (ac_x, ac_y) = (b - a).T, (c - a).T
    return np.asarray(ab_x * ac_y - ab_y * ac_x)


def _candidates(corners: Array, width: int, height: int) -> tuple[Array, Array, Array]:
    """Return every (face, pixel) pair with the pixel's centre in the face's bounding box."""
    size = np.array([width, height])
    low = np.clip(np.ceil(corners.min(axis=1) - 0.5), 0, size).astype(np.int64)
    high = np.clip(np.floor(corners.max(axis=1) - 0.5) + 1, 0, size).astype(np.int64)
    span = np.maximum(high - low, 0)
    counts = span[:, 0] * span[:, 1]
    face = np.repeat(np.arange(len(corners)), counts)
    within = np.arange(len(face)) - np.repeat(np.cumsum(counts) - counts, counts)
    columns = span[face, 0]
    return face, low[face, 0] + within % columns, low[face, 1] + within // columns


def _barycentric(corners: Array, area: Array, face: Array, x: Array, y: Array) -> Array:
    """Return coordinates (M,3) of the points x, y (M,) in faces (M,) of `corners` (F,3,2).

    `area` (F,) is that of `_edge`. What is the same for all points of a face is computed once.
    """
    a, b, c = (np.ascontiguousarray(corners[:, corner].T) for corner in range(3))
    area = area[face]
    first, second = (
        _edge_at(start, end - start, face, x, y) / area for start, end in ((b, c), (c, a))
    )
    return np.stack([first, second, 1 - first - second], axis=1)


def _edge_at(start: Array, along: Array, face: Array, x: Array, y: Array) -> Array:
    """Return twice the signed area of faces' edges (2,F) and points (M,), as `_edge` does."""
    to_x, to_y = x - start[0][face], y - start[1][face]
    return np.asarray(along[0][face] * to_y - along[1][face] * to_x)


def vertex_normals(vertices: Array, faces: Array) -> Array:
    """Return unit normals (V,3): the faces' normals, averaged by area."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    normals = np.cross(b - a, c - a)
    total = np.zeros_like(vertices)
    for corner in range(3):
        for axis in range(3):
            total[:, axis] += np.bincount(faces[:, corner], normals[:, axis], len(vertices))
    return np.asarray(total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12))
