"""Read the refiner's training set: renders, true images and reference images, whole or cropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from training.trainer.refiner.network import image_places, reference_square
from training.trainer.refiner.pair_files import Pair
from training.trainer.termination import TrainingError

KEPT_BYTES = 2**29  # of decoded images in memory; further ones are read again
MOST_BENT = 0.1  # logarithm of the exponent of a channel's tone curve
VISIBLE = 8  # levels of 255 by which a pixel differs from the background to count as a person's


class Batch(NamedTuple):
    """Crops of renders and targets (B, 3, H, W) in [0, 1], their places, and whole references.

    Places and references are as `RefinerNetwork` wants them.
    """

    render: Tensor
    target: Tensor
    places: Tensor
    reference: Tensor


@dataclass
class PairReader:
    """Reads pairs as 8-bit arrays (3, H, W, 3), and keeps what fits into memory."""

    background: float
    _kept: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    _bytes: int = 0

    def images(self, pair: Pair) -> NDArray[np.uint8]:
        """Return render, target and reference; raises TrainingError when a file is unusable."""
        kept = self._kept.get(pair.name)
        if kept is not None:
            return kept
        found = np.stack(_read_all(pair))
        if self._bytes + found.nbytes <= KEPT_BYTES:
            self._kept[pair.name] = found
            self._bytes += found.nbytes
        return found

    def people(self, pair: Pair) -> NDArray[np.bool_]:
        """Return where the target shows people (H, W): where it is not the background."""
        return self._differs(self.images(pair)[1])

    def crops(self, pairs: Sequence[Pair], side: int, generator: torch.Generator) -> Batch:
        """Return a square of each sample around a person's pixel.

        Each sample is mirrored and its colours are exchanged at random, the same way in all three
        images: so that the network repairs people by what the reference shows and knows none.
        """
        drawn = [self._crop(pair, side, generator) for pair in pairs]
        return Batch(*(torch.stack(part) for part in zip(*drawn, strict=True)))

    def _crop(self, pair: Pair, side: int, generator: torch.Generator) -> list[Tensor]:
        render, target, reference = self.images(pair)
        row, column = self._corner(target, side, generator)
        places = image_places(*target.shape[:2])
        parts = [
            _filled(planes[:, row : row + side, column : column + side], side, fill)
            for planes, fill in (
                (_planes(render), self.background),
                (_planes(target), self.background),
                (places, 0.0),
            )
        ]
        return _varied([*parts, reference_square(_planes(reference))], generator)

    def _corner(
        self, target: NDArray[np.uint8], side: int, generator: torch.Generator
    ) -> tuple[int, int]:
        """Return the corner of a square whose middle is a random person's pixel."""
        places = np.argwhere(self._differs(target))
        if not len(places):
            return 0, 0
        middle = places[int(torch.randint(len(places), (1,), generator=generator))]
        most = np.maximum(np.array(target.shape[:2]) - side, 0)
        row, column = np.clip(middle - side // 2, 0, most)
        return int(row), int(column)

    def _differs(self, image: NDArray[np.uint8]) -> NDArray[np.bool_]:
        level = round(self.background * 255)
        return np.asarray((np.abs(image.astype(np.int16) - level) > VISIBLE).any(-1))


def batch_pairs(pairs: Sequence[Pair], count: int, generator: torch.Generator) -> list[Pair]:
    """Draw `count` pairs at random."""
    return [pairs[int(i)] for i in torch.randint(len(pairs), (count,), generator=generator)]


def _read_all(pair: Pair) -> list[NDArray[np.uint8]]:
    images = [_read(path) for path in pair.paths]
    size = images[0].shape
    if images[1].shape != size:
        raise TrainingError(f"{pair.name}: render {size[:2]}, target {images[1].shape[:2]}")
    if images[2].shape != size:
        whole = Image.fromarray(images[2]).resize((size[1], size[0]), Image.Resampling.LANCZOS)
        images[2] = np.asarray(whole)
    return images


def _read(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise TrainingError(f"{path} is not a whole picture: {error}") from error


def _planes(image: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255


def _filled(planes: Tensor, side: int, background: float) -> Tensor:
    height, width = planes.shape[1:]
    return functional.pad(planes, (0, side - width, 0, side - height), value=background)


def _varied(parts: list[Tensor], generator: torch.Generator) -> list[Tensor]:
    """Mirror, exchange the colour channels and bend their tone curves, in all images alike."""
    render, target, places, reference = parts
    order = torch.randperm(3, generator=generator)
    gamma = torch.exp(torch.empty(3, 1, 1).uniform_(-MOST_BENT, MOST_BENT, generator=generator))
    mirrored = bool(torch.randint(2, (), generator=generator))
    images = (render, target, reference)
    render, target, reference = (image[order].clamp(0, 1) ** gamma for image in images)
    if not mirrored:
        return [render, target, places, reference]
    places = places * torch.tensor([1.0, -1.0])[:, None, None]
    return [each.flip(-1) for each in (render, target, places, reference)]
