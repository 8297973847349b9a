"""Measure what a refiner repairs on samples of people that it was not trained on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from training.trainer.cameras.camera_ids import evenly_spaced
from training.trainer.evaluation.metrics import psnr
from training.trainer.evaluation.pictures import to_pil_image, write_image_grid
from training.trainer.refiner.pair_files import Pair
from training.trainer.refiner.pairs import PairReader
from training.trainer.refiner.refiner import Refiner

SHOWN = 6
COLUMNS = ("render", "refined", "target", "reference")
Row = dict[str, float]


def chosen(pairs: Sequence[Pair], most: int) -> list[Pair]:
    """Return at most so many pairs, evenly chosen."""
    places = evenly_spaced(range(len(pairs)), min(most, len(pairs)))
    return [pairs[place] for place in places]


def assess(refiner: Refiner, pairs: Sequence[Pair], reader: PairReader) -> dict[str, Any]:
    """Return the mean PSNR, dB, before and after refining, of whole images and of people.

    None where there is no sample. People are the target's pixels that are not background.
    """
    rows = [_row(refiner, pair, reader) for pair in pairs]
    names = ("psnr_before", "psnr", "psnr_people_before", "psnr_people")
    return {"samples": len(rows), **{name: _mean(row[name] for row in rows) for name in names}}


def write_examples(path: Path, refiner: Refiner, pairs: Sequence[Pair], reader: PairReader) -> None:
    """Write a picture of a few samples, evenly chosen, if there are any; raises OSError."""
    rows: Mapping[str, list[Image.Image]] = {
        pair.name: [to_pil_image(image) for image in _images(refiner, pair, reader)]
        for pair in chosen(pairs, SHOWN)
    }
    path.unlink(missing_ok=True)
    if rows:
        write_image_grid(path, COLUMNS, rows)


def _mean(values: Iterable[float]) -> float | None:
    numbers = [value for value in values if math.isfinite(value)]
    return sum(numbers) / len(numbers) if numbers else None


def _row(refiner: Refiner, pair: Pair, reader: PairReader) -> Row:
    render, refined, target, _ = _images(refiner, pair, reader)
    people = torch.from_numpy(reader.people(pair))
    return {
        "psnr_before": psnr(render, target),
        "psnr": psnr(refined, target),
        "psnr_people_before": psnr(render, target, people),
        "psnr_people": psnr(refined, target, people),
    }


def _images(refiner: Refiner, pair: Pair, reader: PairReader) -> tuple[Tensor, ...]:
    """Return render, refined image, target and reference, each (H, W, 3) in [0, 1]."""
    render, target, reference = (
        torch.from_numpy(image.copy()).float() / 255 for image in reader.images(pair)
    )
    return render, refiner.refine(render, reference), target, reference
