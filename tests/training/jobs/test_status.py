"""What commands say about an experiment whose records or claims can't be read."""

from __future__ import annotations

import json

import pytest

from training.records.record import RECORD, RECORD_VERSION
from training.system.exit_status import DONE, FAILED, USAGE

NEWER = "was written by a newer version of this program"


@pytest.fixture
def trained(lab, tmp_path):
    """Two done scenes on a machine without Slurm's commands."""
    lab.environment["PATH"] = str(tmp_path / "bin")
    for name in "ab":
        lab.add_scene(name)
    assert lab.call("--run-all").returncode == DONE
    return lab


def make_newer(lab, scene):
    """Rewrite a scene's record as a future version of this program might."""
    path = lab.output(scene) / RECORD
    path.write_text(json.dumps({"schema_version": RECORD_VERSION + 1, "state": "running"}))
    return path


def claim_by_newer(lab, scene):
    """Have the record say running, and a future version of this program hold the claim."""
    record = lab.record(scene) | {"status": "running"}
    (lab.output(scene) / RECORD).write_text(json.dumps(record))
    path = lab.output(scene) / ".claim" / "000007.json"
    path.write_text(json.dumps({"schema_version": 99, "owner": "n1"}))
    return path


@pytest.mark.parametrize("spoil", [make_newer, claim_by_newer])
def test_a_file_of_a_newer_version_is_named_by_every_command(trained, spoil):
    """Neither done, nor killed, nor ignored: the scene may be in the hands of that version."""
    path = spoil(trained, "a")
    before = path.read_bytes()
    status = trained.call("--status")
    assert status.returncode == FAILED
    assert f"a: {path} {NEWER}" in status.stdout
    assert "1 failed, 1 done" in status.stdout
    cancel = trained.call("--cancel")
    assert cancel.returncode == FAILED
    assert f"this is left:\na: {path} {NEWER}" in cancel.stdout
    for flags in (("--logs", "a"), ("--run-all",), ("--run-all", "--dry-run")):
        refused = trained.call(*flags)
        assert (refused.returncode, str(path) in refused.stderr) == (USAGE, True)
        assert NEWER in refused.stderr
        assert "Traceback" not in refused.stderr
    assert path.read_bytes() == before


def test_a_scene_without_a_holder_is_read_without_its_claim(trained):
    """A done scene is done, whatever its claim has become."""
    (trained.output("a") / ".claim" / "000007.json").write_text("{")
    assert trained.call("--status").returncode == DONE


def test_a_record_of_the_version_before_counts(trained):
    """--status shows its scene as done, and it is not trained again."""
    path = trained.output("a") / RECORD
    old = json.loads(path.read_text()) | {"schema_version": 1}
    path.write_text(json.dumps(old))
    assert trained.call("--status").returncode == DONE
    assert trained.call("--run-all").returncode == DONE
    assert len(trained.starts("a")) == 1
