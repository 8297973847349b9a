"""The compiled rasterizer's loops: plain Python over NumPy arrays, which numba compiles.

Every array is C-contiguous, every number float64, whatever the caller's are. There are N Gaussians
with C composited values each, and an image of H by W pixels. It is cut into bands of BAND_ROWS
rows, which threads share out. What is summed over bands is summed in their order, so that no result
depends on the number of threads.

Arrays that several functions have in common:

- `flat` (N, 6): a projected Gaussian's center x and y, pixels; its inverse covariance xx, xy, yy;
  its opacity;
- `boxes` (N, 4): first column and the one behind the last, first row and the one behind the last,
  of the pixels where its alpha can reach the minimum;
- `viewmat` (3, 4) world to camera; `lens` (6): focal lengths, principal point and image size,
  each for x and y, pixels;
- `starts` (bands + 1) and `members` (M): the Gaussians of band b, front to back, are
  `members[starts[b]:starts[b + 1]]`;
- `light` (H, W): what all Gaussians together let through; `last` (H, W): place in `members` of the
  last Gaussian that a pixel shows, -1 for none.
"""

from __future__ import annotations

import math

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from training.trainer.gaussians.cpu_rasterizer.constants import (
    EPS2D,
    FIELD_OF_VIEW_MARGIN,
    MAX_ALPHA,
    MIN_DETERMINANT,
    MIN_TRANSMITTANCE,
    NEAR_PLANE,
)

BAND_ROWS = 32

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Point = tuple[float, float, float]

SIGNATURES = {
    "project": "void(f8[:,::1], f8[:,:,::1], f8[::1], f8[:,::1], f8[::1], f8,"
    " f8[:,::1], f8[::1], i8[:,::1])",
    "list_bands": "Tuple((i8[::1], i8[::1]))(i8[::1], i8[:,::1], i8)",
    "composite": "void(i8, i8, i8[::1], i8[::1], f8[:,::1], i8[:,::1], f8[:,::1], f8,"
    " f8[:,:,::1], f8[:,::1], i8[:,::1])",
    "composite_backward": "void(i8, i8, i8[::1], i8[::1], f8[:,::1], i8[:,::1], f8[:,::1], f8,"
    " f8[:,:,::1], f8[:,::1], f8[:,::1], i8[:,::1], f8[:,::1])",
    "sum_over_bands": "void(i8[::1], f8[:,::1], f8[:,::1])",
    "project_backward": "void(f8[:,::1], f8[:,:,::1], f8[:,::1], f8[::1], i8[:,::1],"
    " f8[:,::1], f8[::1], f8[:,::1], f8[:,:,::1])",
}
"""The types of each function's result and arguments, in numba's notation."""


def project(
    means: Floats,
    covars: Floats,
    opacities: Floats,
    viewmat: Floats,
    lens: Floats,
    min_alpha: float,
    flat: Floats,
    depths: Floats,
    boxes: Ints,
) -> None:
    """Project every Gaussian: fill `flat`, `depths` (N,) in metres, and `boxes`.

    The box is empty where a Gaussian lies behind the near plane or has a number that is not finite.
    """
    for n in range(len(means)):
        x, y, z = _in_camera(means[n], viewmat)
        depths[n] = z
        boxes[n] = 0
        if not z > NEAR_PLANE:
            continue
        across, down = _projection_rows(x, y, z, viewmat, lens)
        xx, xy, yy = _covariance(across, down, covars[n])
        determinant = max(xx * yy - xy * xy, MIN_DETERMINANT)
        flat[n, 0] = x / z * lens[0] + lens[2]
        flat[n, 1] = y / z * lens[1] + lens[3]
        flat[n, 2] = yy / determinant
        flat[n, 3] = -xy / determinant
        flat[n, 4] = xx / determinant
        flat[n, 5] = opacities[n]
        sigmas = math.sqrt(2 * math.log(max(opacities[n] / min_alpha, 1.0)))
        reach_x, reach_y = sigmas * math.sqrt(xx), sigmas * math.sqrt(yy)
        if math.isfinite(flat[n].sum() + reach_x + reach_y):
            # Pixel i has its middle at i + 0.5.
            boxes[n, 0] = _pixel(math.ceil(flat[n, 0] - reach_x - 0.5), lens[4])
            boxes[n, 1] = _pixel(math.floor(flat[n, 0] + reach_x + 0.5), lens[4])
            boxes[n, 2] = _pixel(math.ceil(flat[n, 1] - reach_y - 0.5), lens[5])
            boxes[n, 3] = _pixel(math.floor(flat[n, 1] + reach_y + 0.5), lens[5])


def list_bands(order: Ints, boxes: Ints, bands: int) -> tuple[Ints, Ints]:
    """Return `starts` and `members`; `order` (N,) has the Gaussians front to back."""
    starts = np.zeros(bands + 1, np.int64)
    for n in range(len(boxes)):
        if boxes[n, 1] > boxes[n, 0] and boxes[n, 3] > boxes[n, 2]:
            for band in range(boxes[n, 2] // BAND_ROWS, (boxes[n, 3] - 1) // BAND_ROWS + 1):
                starts[band + 1] += 1
    starts = np.cumsum(starts)
    place = starts.copy()
    members = np.empty(starts[bands], np.int64)
    for n in order:
        if boxes[n, 1] > boxes[n, 0] and boxes[n, 3] > boxes[n, 2]:
            for band in range(boxes[n, 2] // BAND_ROWS, (boxes[n, 3] - 1) // BAND_ROWS + 1):
                members[place[band]] = n
                place[band] += 1
    return starts, members


def composite(
    first_band: int,
    step: int,
    starts: Ints,
    members: Ints,
    flat: Floats,
    boxes: Ints,
    values: Floats,
    min_alpha: float,
    sums: Floats,
    light: Floats,
    last: Ints,
) -> None:
    """Composite every `step`-th band from the first: add values (N, C) to `sums` (H, W, C).

    `light` is 1 and `last` -1 everywhere before. A pixel is finished when the next Gaussian would
    leave no more than MIN_TRANSMITTANCE; its `light` is negative from then on, with its size kept.
    """
    for band in range(first_band, len(starts) - 1, step):
        top, bottom = band * BAND_ROWS, min((band + 1) * BAND_ROWS, len(light))
        for place in range(starts[band], starts[band + 1]):
            n = members[place]
            inverse, opacity = (flat[n, 2], flat[n, 3], flat[n, 4]), flat[n, 5]
            furthest = _furthest_power(opacity, min_alpha)
            for row in range(max(top, boxes[n, 2]), min(bottom, boxes[n, 3])):
                y = row + 0.5 - flat[n, 1]
                for column in range(boxes[n, 0], boxes[n, 1]):
                    before = light[row, column]
                    if before <= 0:
                        continue
                    x = column + 0.5 - flat[n, 0]
                    alpha = min(opacity * _falloff(x, y, inverse, furthest), MAX_ALPHA)
                    if alpha < min_alpha:
                        continue
                    after = before * (1 - alpha)
                    if after <= MIN_TRANSMITTANCE:
                        light[row, column] = -before
                        continue
                    for c in range(values.shape[1]):
                        sums[row, column, c] += before * alpha * values[n, c]
                    light[row, column] = after
                    last[row, column] = place
        light[top:bottom] = np.abs(light[top:bottom])


def composite_backward(
    first_band: int,
    step: int,
    starts: Ints,
    members: Ints,
    flat: Floats,
    boxes: Ints,
    values: Floats,
    min_alpha: float,
    grad_sums: Floats,
    grad_alpha: Floats,
    light: Floats,
    last: Ints,
    grads: Floats,
) -> None:
    """Fill `grads` (M, 6 + C): each member's part in the gradients of `flat` and `values`.

    `grad_sums` (H, W, C) and `grad_alpha` (H, W) are the gradients of the sums and of 1 - light.
    From back to front, with d(loss)/d(alpha) = light before it · its own gradient - what the
    Gaussians behind it add / (1 - alpha). `light` is overwritten.
    """
    behind = np.zeros(light.shape)
    for band in range(first_band, len(starts) - 1, step):
        top, bottom = band * BAND_ROWS, min((band + 1) * BAND_ROWS, len(light))
        for place in range(starts[band + 1] - 1, starts[band] - 1, -1):
            n = members[place]
            center_x, center_y, xx, xy, yy, opacity = flat[n]
            furthest = _furthest_power(opacity, min_alpha)
            to_x, to_y, to_xx, to_xy, to_yy, to_opacity = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for row in range(max(top, boxes[n, 2]), min(bottom, boxes[n, 3])):
                y = row + 0.5 - center_y
                for column in range(boxes[n, 0], boxes[n, 1]):
                    if last[row, column] < place:
                        continue
                    x = column + 0.5 - center_x
                    falloff = _falloff(x, y, (xx, xy, yy), furthest)
                    alpha = min(opacity * falloff, MAX_ALPHA)
                    if alpha < min_alpha:
                        continue
                    before = light[row, column] / (1 - alpha)
                    own = grad_alpha[row, column]
                    for c in range(values.shape[1]):
                        own += values[n, c] * grad_sums[row, column, c]
                        grads[place, 6 + c] += before * alpha * grad_sums[row, column, c]
                    to_alpha = before * own - behind[row, column] / (1 - alpha)
                    behind[row, column] += before * alpha * own
                    light[row, column] = before
                    if opacity * falloff <= MAX_ALPHA:
                        to_opacity += to_alpha * falloff
                        to_power = -to_alpha * alpha
                        to_x -= to_power * (xx * x + xy * y)
                        to_y -= to_power * (yy * y + xy * x)
                        to_xx += to_power * 0.5 * x * x
                        to_xy += to_power * x * y
                        to_yy += to_power * 0.5 * y * y
            grads[place, 0], grads[place, 1] = to_x, to_y
            grads[place, 2], grads[place, 3], grads[place, 4] = to_xx, to_xy, to_yy
            grads[place, 5] = to_opacity


def sum_over_bands(members: Ints, parts: Floats, sums: Floats) -> None:
    """Add each member's `parts` (M, K) to its Gaussian's row of `sums` (N, K), in their order."""
    for place in range(len(members)):
        for k in range(parts.shape[1]):
            sums[members[place], k] += parts[place, k]


def project_backward(
    means: Floats,
    covars: Floats,
    viewmat: Floats,
    lens: Floats,
    boxes: Ints,
    grad_flat: Floats,
    grad_depths: Floats,
    grad_means: Floats,
    grad_covars: Floats,
) -> None:
    """Fill the gradients of means (N, 3) and covars (N, 3, 3) from those of `flat` and depths.

    `grad_flat` has more columns than `flat`, which are not read. Zero for a Gaussian that is not
    drawn.
    """
    for n in range(len(means)):
        if boxes[n, 1] <= boxes[n, 0] or boxes[n, 3] <= boxes[n, 2]:
            continue
        x, y, z = _in_camera(means[n], viewmat)
        across, down = _projection_rows(x, y, z, viewmat, lens)
        xx, xy, yy = _covariance(across, down, covars[n])
        to_xx, to_xy, to_yy = _before_inverse(xx, xy, yy, grad_flat[n, 2:5])
        for i in range(3):
            for j in range(3):
                grad_covars[n, i, j] = (
                    to_xx * across[i] * across[j]
                    + to_xy * across[i] * down[j]
                    + to_yy * down[i] * down[j]
                )
        forwards, backwards = covars[n], covars[n].T
        to_across = _row_gradient(across, to_xx, down, to_xy, forwards, backwards)
        to_down = _row_gradient(down, to_yy, across, to_xy, backwards, forwards)
        to_x, x_to_z = _axis_gradient(0, (x, y, z), to_across, grad_flat[n, 0], viewmat, lens)
        to_y, y_to_z = _axis_gradient(1, (x, y, z), to_down, grad_flat[n, 1], viewmat, lens)
        to_z = x_to_z + y_to_z + grad_depths[n]
        for i in range(3):
            grad_means[n, i] = viewmat[0, i] * to_x + viewmat[1, i] * to_y + viewmat[2, i] * to_z


@register_jitable
def _in_camera(mean: Floats, viewmat: Floats) -> Point:
    return (
        _dot(viewmat[0], mean) + viewmat[0, 3],
        _dot(viewmat[1], mean) + viewmat[1, 3],
        _dot(viewmat[2], mean) + viewmat[2, 3],
    )


@register_jitable
def _dot(a: Floats | Point, b: Floats | Point) -> float:
    """Return the product of the first three numbers of both."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@register_jitable
def _held_slope(slope: float, lens: Floats, axis: int) -> float:
    """Return the slope x/z or y/z, held where it is far outside of the image.

    Further out, the linear projection of a Gaussian's shape would be too wrong.
    """
    focal, principal, size = lens[axis], lens[2 + axis], lens[4 + axis]
    margin = FIELD_OF_VIEW_MARGIN * 0.5 * size / focal
    lowest, highest = -principal / focal - margin, (size - principal) / focal + margin
    return float(min(max(slope, lowest), highest))


@register_jitable
def _projection_rows(
    x: float, y: float, z: float, viewmat: Floats, lens: Floats
) -> tuple[Point, Point]:
    """Return the rows of the matrix that turns steps in the world, near a point, into pixels."""
    held_x, held_y = _held_slope(x / z, lens, 0), _held_slope(y / z, lens, 1)
    across = (
        lens[0] / z * (viewmat[0, 0] - held_x * viewmat[2, 0]),
        lens[0] / z * (viewmat[0, 1] - held_x * viewmat[2, 1]),
        lens[0] / z * (viewmat[0, 2] - held_x * viewmat[2, 2]),
    )
    down = (
        lens[1] / z * (viewmat[1, 0] - held_y * viewmat[2, 0]),
        lens[1] / z * (viewmat[1, 1] - held_y * viewmat[2, 1]),
        lens[1] / z * (viewmat[1, 2] - held_y * viewmat[2, 2]),
    )
    return across, down


@register_jitable
def _times(matrix: Floats, point: Point) -> Point:
    return (_dot(matrix[0], point), _dot(matrix[1], point), _dot(matrix[2], point))


@register_jitable
def _covariance(across: Point, down: Point, covar: Floats) -> Point:
    """Return the projected covariance xx, xy, yy, pixels²."""
    along = _times(covar, down)
    return (
        _dot(across, _times(covar, across)) + EPS2D,
        _dot(across, along),
        _dot(down, along) + EPS2D,
    )


@register_jitable
def _before_inverse(xx: float, xy: float, yy: float, grad: Floats) -> Point:
    """Return the gradient of a covariance xx, xy, yy from that of its inverse."""
    determinant = max(xx * yy - xy * xy, MIN_DETERMINANT)
    to_determinant = 0.0
    if xx * yy - xy * xy >= MIN_DETERMINANT:
        to_determinant = -(grad[0] * yy - grad[1] * xy + grad[2] * xx) / determinant**2
    return (
        grad[2] / determinant + to_determinant * yy,
        -grad[1] / determinant - 2 * to_determinant * xy,
        grad[0] / determinant + to_determinant * xx,
    )


@register_jitable
def _row_gradient(
    row: Point, to_square: float, other: Point, to_product: float, covar: Floats, transposed: Floats
) -> Point:
    """Return the gradient of a row r of the projection, by r·S·r and by r·S·o for the other row."""
    once, again, crossed = _times(covar, row), _times(transposed, row), _times(covar, other)
    return (
        to_square * (once[0] + again[0]) + to_product * crossed[0],
        to_square * (once[1] + again[1]) + to_product * crossed[1],
        to_square * (once[2] + again[2]) + to_product * crossed[2],
    )


@register_jitable
def _axis_gradient(
    axis: int, point: Point, to_row: Point, to_center: float, viewmat: Floats, lens: Floats
) -> tuple[float, float]:
    """Return the gradients of x (or y) and of z in camera axes that come through one image axis."""
    slope, z, focal = point[axis] / point[2], point[2], lens[axis]
    held = _held_slope(slope, lens, axis)
    on_axis, in_depth = _dot(to_row, viewmat[axis]), _dot(to_row, viewmat[2])
    to_slope = to_center * focal
    if held == slope:
        to_slope -= in_depth * focal / z
    return to_slope / z, (in_depth * held - on_axis) * focal / (z * z) - to_slope * slope / z


@register_jitable
def _pixel(place: float, size: float) -> int:
    """Return a place in pixels as a whole number from 0 to `size`."""
    return int(min(max(place, 0.0), size))


@register_jitable
def _falloff(x: float, y: float, inverse: Point, furthest: float) -> float:
    """Return exp(-power) at x, y from a center, power the quadratic form; 0 beyond `furthest`."""
    xx, xy, yy = inverse
    power = 0.5 * (xx * x * x + yy * y * y) + xy * x * y
    return math.exp(-power) if power <= furthest else 0.0


@register_jitable
def _furthest_power(opacity: float, min_alpha: float) -> float:
    """Return an exponent beyond which alpha is certainly below the minimum: saves its exp."""
    return math.log(opacity / min_alpha) + 1e-6 if opacity > 0 else -1.0
