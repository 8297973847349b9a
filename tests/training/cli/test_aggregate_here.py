"""The aggregate of a run on this machine, whatever way its mode was written."""

from __future__ import annotations

import pytest

SCRIPT = """
import sys
given = dict(each.lstrip("+").split("=", 1) for each in sys.argv[1:])
if given["run_mode"].endswith("aggregate"):
    print("merging")
    print(f"{len(sys.argv[1:])} arguments; warning: train is empty")
"""


@pytest.mark.parametrize("prefix", ["", "++"])
def test_its_last_word_is_said_at_the_end(lab, prefix):
    """A warning of the merge is not left in a log that nobody opens."""
    lab.add_scene("a_1")
    (lab.root / "mine.py").write_text(SCRIPT)
    mode = f"{prefix}run_mode=difix_data_generation_generate"
    flags = ("--train-script", str(lab.root / "mine.py"), "--overrides", mode, "seed=1")
    result = lab.call(*flags, stand_in=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.endswith("\n    3 arguments; warning: train is empty\n")
