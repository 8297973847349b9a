"""Scene files: read as they are written, or a fault that names the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fuzz.experiment import output_of
from fuzz.mutations import bounded, json_files
from fuzz.sizes import one_in
from hypothesis import example, given
from hypothesis import strategies as st

from preprocess.registry import read_scenes
from training import run

SCENES = Path(__file__).resolve().parent.parent.parent / "preprocess" / "scenes"
SHIPPED = [json.loads(path.read_text()) for path in sorted(SCENES.glob("*.json"))]
RECORDED = {
    "seq_name": "hi4d_pair17_dance",
    "cam_id": 28,
    "raw_gt_dir_path": "truth/dance17",
    "video_path": "images/28",
    "ref_frame_idx": 3,
    "genders": ["female", "male"],
    "note": {"by": "me", "tries": [1, 2.5, None]},
}
files = st.sampled_from([RECORDED, SHIPPED[0], SHIPPED[-1]]).flatmap(json_files)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("scenes")


@given(content=files)
@example(b"[" * 100_000)
@example(b'{"seq_name": "a", "cam_id": ' + b"9" * 5000 + b"}")
def test_a_scene_is_read_as_it_is_written_or_refused_with_its_file(folder, content):
    file = folder / "a.json"
    file.write_bytes(content)
    with bounded():
        scenes, faults = read_scenes(folder)
    assert len(scenes) + bool(faults) == 1
    assert all(str(file) in str(fault) for fault in faults)
    for scene in scenes:
        assert scene.raw == json.loads(content)
        assert Path(scene.seq_name).name == scene.seq_name
        assert not scene.seq_name.startswith((".", "-"))


@one_in(5)
@given(content=files)
@example(b'{"seq_name": "a", "cam_id": 1, "synthetic": {"frames": 1e400}}')
def test_a_launch_with_any_scene_file_is_planned_or_refused(folder, content):
    """Also with a recipe of a synthetic scene, camera numbers and paths that mean nothing."""
    (folder / "a.json").write_bytes(content)
    with bounded():
        status, shown = output_of(
            run.main,
            ["--dry-run", "--run-all", "--exp-name", "e", "--scenes-dir", str(folder)]
            + [f"--{name}-root={folder / name}" for name in ("results", "scene-data", "state")],
        )
    assert status in {0, 2}
    assert "Traceback" not in shown
