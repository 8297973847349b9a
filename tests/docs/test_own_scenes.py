"""docs/own-scenes.md, followed from top to bottom on a scene that is small.

Training is a dry run, and checks read headers: bodies of these data are in nobody's mask.
"""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import pytest
from scene_files import write_scene

from deployments.console.command import main as console
from preprocess.import_hi4d import main as import_hi4d

PAGE = Path(__file__).resolve().parents[2] / "docs" / "own-scenes.md"
BLOCK = re.compile(r"^```(python|bash)(?: title=\"(\S+)\")?\n(.*?)^```", re.MULTILINE | re.DOTALL)
BUILT_ELSEWHERE = "python -m preprocess.synthetic"
AFTER_TRAINING = ("status", "report")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A user's folder, and the data of the bundled scene that the page begins with."""
    monkeypatch.chdir(tmp_path)
    for name in ("RESULTS", "SCENE_DATA", "STATE"):
        monkeypatch.setenv(f"TS_{name}_ROOT", str(tmp_path / name.lower()))
    write_scene(tmp_path / "scene_data" / "synthetic_pair01_wave")
    write_scene(tmp_path / "scene_data" / "truth" / "synthetic_pair01_wave", cameras=(4, 28, 52))
    return tmp_path


def run(command: str) -> int:
    words = shlex.split(command, comments=True)
    if words[0] == "python" and words[1].endswith(".py"):
        runpy.run_path(words[1], run_name="__main__")
        return 0
    if words[:3] == ["python", "-m", "preprocess.import_hi4d"]:
        return import_hi4d(words[3:])
    more = {"launch": ["--dry-run"], "check": ["--read", "headers"]}
    return console([*words[1:], *more[words[1]]])


def test_the_page_leads_from_a_video_to_a_launch(place, capsys):
    """Each script as it stands, each command in its order; nothing is doubted on the way."""
    for kind, title, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if kind == "python":
            (place / title).write_text(text, encoding="utf-8")
            continue
        for command in re.sub(r"\\\n\s*", " ", text).splitlines():
            if command.startswith(BUILT_ELSEWHERE) or command.split()[1] in AFTER_TRAINING:
                continue
            assert run(command) == 0, (command, capsys.readouterr())
            said = capsys.readouterr()
            assert "warning" not in said.out + said.err
            assert "doubtful" not in said.out
