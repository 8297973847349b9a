"""`python -m preprocess.synthetic`: the builder as a command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from preprocess.synthetic import build
from preprocess.synthetic.__main__ import main

CHECKOUT = Path(build.__file__).parents[2]
RECIPE = {
    "action": "dance",
    "people": ["ada", "dan"],
    "frames": 1,
    "image_size": 48,
    "cameras": [28],
}
SMALL = {"seq_name": "small", "cam_id": 28, "raw_gt_dir_path": "truth/small", "synthetic": RECIPE}


def write_registry(folder: Path) -> None:
    folder.mkdir()
    (folder / "small.json").write_text(json.dumps(SMALL), encoding="utf-8")


def test_the_command_builds_by_name_and_says_meanwhile_what_and_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes, root = tmp_path / "scenes", tmp_path / "data"
    write_registry(scenes)
    where = ["--scenes-dir", str(scenes), "--scene-data-root", str(root)]
    said: list[tuple[str, bool]] = []
    say = "preprocess.synthetic.__main__.say"
    monkeypatch.setattr(say, lambda text: said.append((text, (root / "small").exists())))
    assert main(["small", *where]) == 0
    built = (f"built {root / 'truth' / 'small'}", False), (f"built {root / 'small'}", True)
    assert said == [("building small", False), *built]
    assert main(["smal", *where]) == 2
    assert "did you mean small?" in capsys.readouterr().err


def test_a_closed_pipe_does_not_fail_the_command(tmp_path: Path) -> None:
    """As in `python -m preprocess.synthetic | head -0`."""
    write_registry(tmp_path / "scenes")
    command = [sys.executable, "-m", "preprocess.synthetic", "--scene-data-root", str(tmp_path)]
    command += ["--scenes-dir", str(tmp_path / "scenes")]
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        command, cwd=CHECKOUT, stdout=writer, stderr=subprocess.PIPE, timeout=120, check=False
    )
    os.close(writer)
    assert (result.returncode, result.stderr) == (0, b"")
    assert (tmp_path / "small").is_dir()
