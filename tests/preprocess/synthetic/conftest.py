"""A small scene, built once for the tests of a file."""

from __future__ import annotations

import pytest
from small_scene import SMALL

from preprocess.layout import SceneFolder
from preprocess.scene_data import (
    training_folder,
    truth_folder,
)
from preprocess.synthetic.build import ensure_scene_data


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[SceneFolder, SceneFolder]:
    """The training folder and the truth folder of SMALL."""
    root = tmp_path_factory.mktemp("built")
    ensure_scene_data([SMALL], root)
    truth = truth_folder(SMALL, root)
    assert truth is not None
    return training_folder(SMALL, root), truth
