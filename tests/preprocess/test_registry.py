"""The scene registry: order, filter, and every fault of every file at once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from preprocess.faults import FaultsError
from preprocess.registry import left_out_warning, load_scenes, named_scenes, select_scenes
from preprocess.scene import Scene


def write(folder: Path, file: str, content: Any) -> Path:
    path = folder / file
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def scene(name: str, **more: Any) -> dict[str, Any]:
    return {"seq_name": name, "cam_id": 28, **more}


def faults(folder: Path) -> str:
    with pytest.raises(FaultsError) as caught:
        load_scenes(folder)
    return str(caught.value)


def test_scenes_come_in_lexical_order_of_their_file_names(tmp_path: Path) -> None:
    for file, name in [("b.json", "first"), ("a10.json", "ten"), ("a9.json", "nine")]:
        write(tmp_path, file, scene(name))
    assert [each.seq_name for each in load_scenes(tmp_path)] == ["ten", "nine", "first"]


def test_a_scene_keeps_unknown_keys_and_writes_back_what_was_read(tmp_path: Path) -> None:
    content = scene(
        "hi4d_pair17_dance",
        video_path=None,
        ref_frame_idx=0,
        note={"á": [1, 2.5, None, True]},
        file="mine",
        _file="mine too",
    )
    path = write(tmp_path, "a.json", content)
    (read,) = load_scenes(tmp_path)
    assert read.raw == content
    assert read.file == path


def test_scenes_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Scene(seq_name="a", cam_id=1).cam_id = 2  # type: ignore[misc]


def test_other_files_and_hidden_files_are_not_scenes(tmp_path: Path) -> None:
    write(tmp_path, "a.json", scene("a"))
    write(tmp_path, "._a.json", "left by an archive")
    write(tmp_path, "notes.txt", "not a scene")
    assert len(load_scenes(tmp_path)) == 1


def test_scenes_that_are_left_out_are_said_in_one_line(tmp_path: Path) -> None:
    """A registry in two shapes: files, folders of files, suffixes of other systems."""
    write(tmp_path, "a.json", scene("a"))
    assert left_out_warning(tmp_path) == ""
    for folder in ("hi4d", "images", ".git"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder, "x.png" if folder == "images" else "b.json", "")
    for file in ("B.JSON", "c.json5", "notes.txt", "._d.JSON"):
        write(tmp_path, file, "")
    line = left_out_warning(tmp_path)
    assert line.startswith("3 left out of the scenes: B.JSON, c.json5, hi4d/; ")
    assert "\n" not in line
    for number in range(20):
        write(tmp_path, f"{number}.JSON", "")
    assert line.count(",") < left_out_warning(tmp_path).count(",") < 20
    (tmp_path / "a.json").unlink()
    assert "23 left out" in faults(tmp_path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("{'seq_name'", "is not JSON"),
        ("\ufeff{", "is not JSON"),
        ('{"seq_name": "a", "cam_id": 1, "cam_id": 2}', "'cam_id' is written twice"),
        ("[" * 100_000, "is not JSON"),
        ('{"seq_name": "a", "cam_id": 1, "scale": NaN}', "NaN is no number"),
        ('{"seq_name": "a", "cam_id": 1, "scale": [{"x": -Infinity}]}', "-Infinity is no number"),
        ('{"seq_name": "a", "cam_id": 1, "scale": 1e999}', "1e999 is no number"),
        ('{"seq_name": "a", "cam_id": 1, "note": "\\ud83d"}', "half of a character"),
        ([scene("a")], "does not hold one JSON object"),
        ("null", "does not hold one JSON object, but: null"),
        ({"seq_name": "a"}, "lacks cam_id"),
        ({"seq_name": "a", "camid": 4}, "lacks cam_id (is 'camid' meant?)"),
        ({"cam_id": 28}, "lacks seq_name"),
        ({"seq_name": "a", "cam_id": "four"}, 'valid integer: "four"'),
        ({"seq_name": "a", "cam_id": "4"}, 'valid integer: "4"'),
        ({"seq_name": "a", "cam_id": True}, "valid integer: true"),
        ({"seq_name": "a", "cam_id": -1}, "greater than or equal to 0: -1"),
        ({"seq_name": 7, "cam_id": 28}, "seq_name: Input should be a valid string: 7"),
        (
            scene("a", raw_gt_dir_path=["x"]),
            'raw_gt_dir_path: Input should be a valid string: ["x"',
        ),
        (scene("a", ref_frame_idx=0.5), "ref_frame_idx: Input should be a valid integer: 0.5"),
        (scene("a", synthetic="yes"), "synthetic: Input should be a valid dictionary"),
    ],
)
def test_a_bad_file_is_named_with_key_value_and_remedy(
    tmp_path: Path, content: Any, expected: str
) -> None:
    path = write(tmp_path, "bad.json", content)
    message = faults(tmp_path)
    assert str(path) in message
    assert expected in message
    assert "    -> " in message


@pytest.mark.parametrize(
    "name", ["", ".hidden", "-x", "_experiments", "a/b", "..", "a b", "a=b", "á", "a\n", "x" * 201]
)
def test_a_name_that_cannot_be_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path, "bad.json", scene(name))
    assert "can't be the name of a folder" in faults(tmp_path)


@pytest.mark.parametrize("name", ["12", "12_11", "1.5", "1e5", "true", "Null", "nan"])
def test_a_name_that_hydra_would_not_read_as_text_is_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path, "bad.json", scene(name))
    assert "by Hydra" in faults(tmp_path)


@pytest.mark.parametrize("name", ["hi4d_pair17_dance", "3people", "a.b-c", "12_11a", "nano"])
def test_ordinary_names_are_accepted(name: str) -> None:
    assert Scene(seq_name=name, cam_id=0).seq_name == name


def test_the_faults_of_all_files_and_keys_are_reported_at_once(tmp_path: Path) -> None:
    write(tmp_path, "a.json", scene("twice"))
    write(tmp_path, "b.json", scene("twice"))
    write(tmp_path, "c.json", "")
    write(tmp_path, "d.json", {"seq_name": 1, "cam_id": "four"})
    (tmp_path / "e.json").mkdir()
    with pytest.raises(FaultsError) as caught:
        load_scenes(tmp_path)
    assert len(caught.value.faults) == 5
    message = str(caught.value)
    assert f"{tmp_path / 'b.json'}: seq_name is already used by {tmp_path / 'a.json'}" in message
    assert f"{tmp_path / 'e.json'} can't be read: Is a directory" in message


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser can read every file")
def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    write(tmp_path, "a.json", scene("a")).chmod(0)
    assert "Permission denied" in faults(tmp_path)


def test_a_link_to_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").symlink_to(tmp_path / "gone.json")
    assert "a.json can't be read: No such file" in faults(tmp_path)


def test_a_missing_or_empty_folder_names_the_folder_and_the_flag(tmp_path: Path) -> None:
    for folder in (tmp_path / "absent", tmp_path):
        message = faults(folder)
        assert str(folder) in message
        assert "--scenes-dir" in message


def test_the_filter_takes_substrings_and_none_takes_all() -> None:
    scenes = [Scene(seq_name=name, cam_id=0) for name in ("pair15_hug", "pair17_hug", "pair17_sit")]
    assert select_scenes(scenes, None) == scenes
    assert [each.seq_name for each in select_scenes(scenes, "hug")] == ["pair15_hug", "pair17_hug"]


def test_a_filter_that_matches_nothing_names_the_nearest() -> None:
    scenes = [Scene(seq_name=name, cam_id=0) for name in ("hi4d_pair17_dance", "hi4d_pair15_hug")]
    with pytest.raises(FaultsError, match=r"'hi4d_pair17_dnace'\n.*did you mean hi4d_pair17_dance"):
        select_scenes(scenes, "hi4d_pair17_dnace")


def test_scenes_are_named_whole_and_unknown_ones_all_at_once() -> None:
    """In the registry's order; none names all."""
    scenes = [Scene(seq_name=name, cam_id=1) for name in ("a_1", "a_10", "b_1")]
    assert named_scenes(scenes, ["b_1", "a_1"]) == [scenes[0], scenes[2]]
    assert named_scenes(scenes, []) == scenes
    with pytest.raises(FaultsError) as caught:
        named_scenes(scenes, ["a_2", "b_1", "c_1"])
    assert len(caught.value.faults) == 2
    assert "a_1" in str(caught.value)
