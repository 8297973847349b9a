"""Animations are written as WebP frame by frame."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
from PIL import Image

from training.trainer.evaluation.webp import FRAME_MS, write_animation


def test_each_frame_is_shown_once_for_its_time_and_repeats(tmp_path):
    """Odd sizes too, as Pillow reads them; colours differ by what compression loses."""
    colors = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
    write_animation(tmp_path / "a.webp", (Image.new("RGB", (65, 33), each) for each in colors))
    with Image.open(tmp_path / "a.webp") as film:
        assert (film.n_frames, film.size, film.info["loop"]) == (3, (65, 33), 0)
        for number, color in enumerate(colors):
            film.seek(number)
            shown = np.asarray(film.convert("RGB"), dtype=int)
            assert abs(shown - np.array(color)).max() < 12
            assert film.info["duration"] == FRAME_MS


def test_a_frame_is_let_go_before_the_one_after_the_next_is_made(tmp_path):
    """A long film of large frames takes the memory of a few."""
    made = []
    most = 0

    def frames():
        nonlocal most
        for _ in range(6):
            frame = Image.new("RGB", (8, 8))
            made.append(weakref.ref(frame))
            most = max(most, sum(reference() is not None for reference in made))
            yield frame

    write_animation(tmp_path / "a.webp", frames())
    assert most <= 2


def test_a_film_that_is_broken_off_leaves_no_file(tmp_path):
    """Nor does one without frames."""

    def frames():
        yield Image.new("RGB", (8, 8))
        raise KeyError

    with pytest.raises(KeyError):
        write_animation(tmp_path / "a.webp", frames())
    write_animation(tmp_path / "a.webp", [])
    assert not list(tmp_path.iterdir())
