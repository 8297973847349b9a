"""What all rasterizers agree on: gsplat 1.5's constants."""

from __future__ import annotations

EPS2D = 0.3  # pixels² added to each projected covariance, so that no Gaussian misses every pixel
MAX_ALPHA = 0.999
MIN_ALPHA = 1.0 / 255.0
MIN_TRANSMITTANCE = 1e-4
MIN_DETERMINANT = 1e-10  # pixels⁴, of a projected covariance
NEAR_PLANE = 0.01  # metres
FIELD_OF_VIEW_MARGIN = 0.3  # of half the image, beyond which the projection's slope is held
