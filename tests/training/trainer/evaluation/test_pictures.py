"""Pictures of any size become sheets that can be looked at, and stay small."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from training.trainer.evaluation.pictures import LARGEST_TILE, SMALLEST_TILE, tile, write_image_grid


@pytest.mark.parametrize("size", [(96, 96), (64, 48), (300, 200), (940, 1280), (4096, 16)])
def test_a_tile_has_the_shape_of_its_picture_and_a_bounded_size(size):
    """Small ones are enlarged by whole numbers, large ones made smaller; a tile stays as it is."""
    made = tile(Image.new("RGB", size, "red"))
    assert SMALLEST_TILE <= max(made.size) <= max(LARGEST_TILE, 2 * SMALLEST_TILE)
    if min(size) > 20:
        assert made.width / made.height == pytest.approx(size[0] / size[1], rel=0.01)
    assert np.array_equal(np.asarray(tile(made)), np.asarray(made))


def test_a_sheet_of_full_size_pictures_is_small(tmp_path):
    """Eight rows of three noisy images of 940 x 1280 are 8 megapixels, not 29."""
    noise = np.random.default_rng(0).integers(0, 255, (1280, 940, 3), dtype=np.uint8)
    rows = {f"row {row}": [Image.fromarray(noise)] * 3 for row in range(8)}
    write_image_grid(tmp_path / "sheet.png", ("a", "b", "c"), rows)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width * sheet.height < 9e6
