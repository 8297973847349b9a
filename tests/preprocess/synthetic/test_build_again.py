"""A scene is built once, whole or not at all, and only from a recipe that is right."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from small_scene import SMALL, digests, small

from preprocess.data_checks import missing_data
from preprocess.faults import FaultsError
from preprocess.layout import SceneFolder
from preprocess.roots import CHECKOUT
from preprocess.scene import Scene
from preprocess.scene_data import (
    training_folder,
)
from preprocess.synthetic import studio
from preprocess.synthetic.build import ensure_scene_data


def test_the_same_scene_gives_the_same_bytes_another_seed_other_estimates(tmp_path: Path) -> None:
    scene = small(frames=2, cameras=[28])
    for name in ("a", "b"):
        ensure_scene_data([scene], tmp_path / name)
    ensure_scene_data([small(frames=2, cameras=[28], seed=1)], tmp_path / "c")
    first, second, third = (digests(tmp_path / name) for name in ("a", "b", "c"))
    assert first == second
    differing = {path for path in first if first[path] != third[path]}
    assert "small/smplx/000001.npz" in differing
    assert "truth/small/smplx/000001.npz" not in differing


def test_what_is_built_is_not_built_again(
    built: tuple[SceneFolder, SceneFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(studio, "write_view", fail)
    assert ensure_scene_data([SMALL], built[0].root.parent) == []


def test_two_builders_at_once_leave_one_whole_scene(tmp_path: Path) -> None:
    scene = small(frames=2)
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: ensure_scene_data([scene], tmp_path), range(2)))
    assert sorted(path for paths in made for path in paths) == [
        tmp_path / "small",
        tmp_path / "truth/small",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small", "truth"]
    assert training_folder(scene, tmp_path).frames(28) == [1, 2]


def test_a_full_disk_is_a_fault_and_leaves_no_half_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def full(folder: SceneFolder, *_: object) -> None:
        folder.image(28, 1).parent.mkdir(parents=True)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(studio, "write_view", full)
    with pytest.raises(FaultsError, match=r"small: .*No space left[\s\S]*TS_SCENE_DATA_ROOT"):
        ensure_scene_data([small(frames=1)], tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.name != "truth"] == []


def test_leftovers_of_a_killed_builder_are_removed_when_old_and_kept_when_new(
    tmp_path: Path,
) -> None:
    old, new = tmp_path / ".small.00000000", tmp_path / ".small.11111111"
    for folder in (old, new):
        (folder / "images").mkdir(parents=True)
    os.utime(old, (0, 0))
    ensure_scene_data([small(frames=1, cameras=[28])], tmp_path)
    assert not old.exists()
    assert new.exists()


def test_a_root_that_cannot_be_written_is_a_fault(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way", encoding="utf-8")
    with pytest.raises(FaultsError, match="can't be written: Not a directory"):
        ensure_scene_data([small(frames=1)], blocked)


def test_data_built_from_another_recipe_is_refused(
    built: tuple[SceneFolder, SceneFolder],
) -> None:
    with pytest.raises(FaultsError, match="built from another recipe") as caught:
        ensure_scene_data([small(seed=9)], built[0].root.parent)
    assert str(built[0].root) in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"action": "wawe"}, "synthetic.action: Input should be 'wave'"),
        ({"people": ["ada", "bne"]}, r'wardrobe\.py: "bne"[\s\S]*did you mean ben'),
        ({"people": ["ada"]}, r"synthetic\.people: Tuple should have at least 2 items"),
        ({"people": {"random": -1}}, r"synthetic\.people\.random: Input should be greater"),
        ({"people": {"random": 1, "count": 4}}, r"synthetic\.people\.count: Input should be less"),
        ({"frame": 3}, r"frame: Extra inputs[\s\S]*did you mean frames"),
        ({"image_size": "96"}, r'number of pixels from 16 to 4096 or \[width, height\]: "96"'),
        ({"image_size": [96, 8]}, r"or \[width, height\]: \[96, 8\]"),
        ({"cameras": [4, 16]}, r"cam_id is not one of its cameras: 28[\s\S]*4, 16"),
        ({"cameras": [28, 28]}, "a camera twice"),
        ({"skip_frames": [7]}, "skip_frames"),
    ],
)
def test_a_wrong_recipe_is_found_before_anything_is_built(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    scene = small(**changes)
    with pytest.raises(FaultsError, match=expected):
        ensure_scene_data([scene], tmp_path)
    assert missing_data(scene, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["/data/truth", "~/truth", "../truth", "small/truth", "small", ""])
def test_the_truth_is_never_built_outside_the_root_or_in_the_training_folder(
    tmp_path: Path, path: str
) -> None:
    scene = small().model_copy(update={"raw_gt_dir_path": path})
    with pytest.raises(FaultsError, match="raw_gt_dir_path of a synthetic scene"):
        ensure_scene_data([scene], tmp_path)


def test_scenes_without_a_recipe_are_left_alone(tmp_path: Path) -> None:
    assert ensure_scene_data([Scene(seq_name="mine", cam_id=4)], tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_where_all_is_built_the_command_needs_no_torch(
    built: tuple[SceneFolder, SceneFolder],
) -> None:
    code = (
        "import sys, pathlib, json; from preprocess.scene import Scene;"
        "from preprocess.synthetic.build import ensure_scene_data;"
        "ensure_scene_data([Scene(**json.loads(sys.argv[1]))], pathlib.Path(sys.argv[2]));"
        "assert not {'numpy', 'torch', 'PIL'} & set(sys.modules)"
    )
    scene = SMALL.model_dump_json(exclude_unset=True)
    command = [sys.executable, "-c", code, scene, str(built[0].root.parent)]
    subprocess.run(command, cwd=CHECKOUT, check=True, timeout=60)
