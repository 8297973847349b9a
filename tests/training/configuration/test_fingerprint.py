"""What is in a fingerprint and what is not: values, ignored keys, the content of files."""

from __future__ import annotations

import pytest

from preprocess.faults import FaultsError
from preprocess.roots import CHECKOUT
from training.configuration import fingerprint as fp
from training.configuration.run_modes import INPUT_FILE_KEYS

SCENE = {"seq_name": "a_1", "cam_id": 28}


def test_values_and_scene_count_and_their_order_does_not():
    """Two spellings of the same configuration have one fingerprint."""
    first = fp.fingerprint({"a": 1, "b": 2}, SCENE)
    assert fp.fingerprint({"b": 2, "a": 1}, dict(reversed(SCENE.items()))) == first
    assert fp.fingerprint({"a": 1, "b": 3}, SCENE) != first
    assert fp.fingerprint({"a": 1, "b": 2}, {**SCENE, "cam_id": 29}) != first


def test_a_fingerprint_of_the_version_before_is_told_from_todays():
    """Its format is in the text, so that nobody compares what can't be compared."""
    assert fp.is_comparable(fp.fingerprint({}, SCENE))
    assert not fp.is_comparable("8ca281ac324ef1ad50edc2fb9f31f9ca")


def test_ignored_keys_are_left_out_with_their_sections():
    """Where results lie and who watches; a key that only begins alike stays."""
    values = {"shared.wandb.enable": True, "shared.results_root": "/r", "shared.wandb_x": 1}
    assert fp.without_ignored({**values, "more.a": 1, "seed": 0}, ["more"]) == {
        "shared.wandb_x": 1,
        "seed": 0,
    }


def test_the_content_of_a_file_counts_and_its_path_does_not(tmp_path):
    """A body model that was moved is the same body model."""
    one, two = tmp_path / "one.npz", tmp_path / "two.npz"
    one.write_bytes(b"body")
    two.write_bytes(b"body")
    first = fp.with_contents({"body": "one.npz"}, {"body": one})
    assert fp.with_contents({"body": "two.npz"}, {"body": two}) == first
    two.write_bytes(b"Body")
    assert fp.with_contents({"body": "two.npz"}, {"body": two}) != first


def test_a_named_file_that_is_missing_is_part_of_the_hash(tmp_path):
    """It is not skipped: when it appears, the fingerprint changes."""
    path = tmp_path / "body.npz"
    missing = fp.with_contents({}, {"body": path})
    path.write_bytes(b"")
    assert fp.with_contents({}, {"body": path}) != missing


def test_a_file_that_can_not_be_read_is_a_fault(tmp_path):
    """A folder where a file is expected: named, no traceback."""
    with pytest.raises(FaultsError, match="can't be read"):
        fp.with_contents({}, {"body": tmp_path})


def test_a_file_that_is_too_large_counts_by_its_size(tmp_path, monkeypatch):
    """A dry run does not read a data set of terabytes."""
    monkeypatch.setattr(fp, "LARGEST_HASHED_BYTES", 3)
    path = tmp_path / "data.h5"
    path.write_bytes(b"four")
    assert fp.with_contents({}, {"data": path}) == {"data": {"content": "4 bytes"}}


def test_files_are_found_by_value_but_not_among_outputs(tmp_path):
    """For another script: a file that exists; not a text, not a folder, not what it wrote."""
    (tmp_path / "in.npz").touch()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "log.txt").touch()
    values = {
        "in": str(tmp_path / "in.npz"),
        "relative": "training/submit.slurm",
        "log": str(tmp_path / "out" / "log.txt"),
        "folder": str(tmp_path),
        "text": "x" * 5000,
        "null": "\0",
        "number": 3,
    }
    found = fp.files_named(values, [tmp_path / "out"])
    assert found == {
        "in": tmp_path / "in.npz",
        "relative": CHECKOUT / "training" / "submit.slurm",
    }


def test_every_key_of_train_yaml_that_names_a_file_is_an_input_file():
    """A new `…_file` key must not be forgotten."""
    from training.configuration.overrides import compose, flat
    from training.plan.train_script import OWN_CONFIG

    content = compose(OWN_CONFIG, ()).content
    named = {key for key in flat(content) if key.endswith("_file")}
    assert named - {"shared.scene_file"} == set(INPUT_FILE_KEYS)
