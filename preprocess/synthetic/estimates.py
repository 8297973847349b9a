"""What a video-based estimator would have found: the truth with errors that partly follow time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

ROTATION_ERROR = 0.05  # rad, standard deviation an axis
TRANSLATION_ERROR = np.array([0.015, 0.015, 0.04])  # metres; worst along the camera's axis
DEPTH_SCALE_ERROR, DEPTH_ERROR = 0.003, 0.004  # of the whole frame; metres a pixel
CONSTANT_SHARE = 0.4  # of the variance stays the same over the whole video
MEMORY = 0.6  # correlation of the rest from one frame to the next


def correlated_noise(rng: np.random.Generator, frames: int, shape: tuple[int, ...]) -> Array:
    """Return noise (frames, *shape) of unit variance, correlated over the frames.

    It is the sum of a constant part and a first-order autoregressive one.
    """
    steps = rng.standard_normal((frames, *shape))
    for frame in range(1, frames):
        steps[frame] = MEMORY * steps[frame - 1] + np.sqrt(1 - MEMORY**2) * steps[frame]
    constant = rng.standard_normal(shape)
    return np.asarray(np.sqrt(CONSTANT_SHARE) * constant + np.sqrt(1 - CONSTANT_SHARE) * steps)


def estimated_motion(
    rng: np.random.Generator, pose: Array, trans: Array, camera_turn: Array
) -> tuple[Array, Array]:
    """Return noisy copies of pose (F,P,J,3) axis-angle and trans (F,P,3) metres.

    `camera_turn` (3,3) is the source camera's world-to-camera rotation: translations are least
    certain along its z axis.
    """
    turns = correlated_noise(rng, len(pose), pose.shape[1:]) * ROTATION_ERROR
    shifts = correlated_noise(rng, len(trans), trans.shape[1:]) * TRANSLATION_ERROR
    return pose + turns, trans + shifts @ camera_turn


def estimated_depth(rng: np.random.Generator, depth: Array) -> Array:
    """Return a noisy copy of depth (H,W) metres; 0, unknown, stays 0."""
    scale = 1 + DEPTH_SCALE_ERROR * rng.standard_normal()
    noisy = depth * scale + DEPTH_ERROR * rng.standard_normal(depth.shape)
    return np.where(depth > 0, noisy, 0).astype(np.float32)
