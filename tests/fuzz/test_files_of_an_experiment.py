"""Whatever has become of an experiment's files: every command tells of it, or goes on without."""

from __future__ import annotations

import json
from pathlib import Path
from unittest.mock import patch

import pytest
from conftest import lab_in
from fuzz.experiment import lived, output_of, queue_of
from fuzz.mutations import bounded, damaged, edited, json_files
from fuzz.sizes import one_in
from fuzz.slurm_answers import answering
from hypothesis import given
from hypothesis import strategies as st

from flows import report
from training import run


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    with lab_in(tmp_path_factory.mktemp("lab")) as lab:
        yield lived(lab)


def commands(made):
    same = ["--exp-name", "exp", *made.roots]
    again = ["--run-all", "--dry-run", "--scenes-dir", str(made.root / "registry")]
    script = ["--train-script", str(Path(__file__).parent.parent / "stand_in_trainer.py")]
    return {
        "status": (run.main, ["--status", *same]),
        "list": (run.main, ["--status", *made.roots]),
        "cancel": (run.main, ["--cancel", "--dry-run", *same]),
        "again": (run.main, [*again, *script, "--overrides", "seed=1", *same]),
        "submit": (run.main, ["--submit", *again, *script, *same]),
        "json": (report.main, ["--json", "--exp-name", "exp", made.roots[0], made.roots[2]]),
        "report": (report.main, ["--exp-name", "exp", made.roots[0], made.roots[2]]),
    }


def nearly(name, content):
    """Return nearly the content of a file."""
    if name.endswith((".json", ".launcher")):
        return json_files(json.loads(content))
    return edited(content.decode()).map(str.encode).flatmap(damaged)


@pytest.fixture(autouse=True, scope="module")
def _no_plots():
    """Drawing takes longer than all else, and reads only what the tables have."""
    with patch("training.report.write.write_plots", lambda *_: []):
        yield


@one_in(2)
@given(data=st.data())
def test_no_damaged_file_is_a_traceback(experiment, data):
    name = data.draw(st.sampled_from(sorted(experiment.files)))
    content = data.draw(nearly(name, experiment.files[name]))
    chosen = data.draw(st.sampled_from(sorted(commands(experiment))))
    experiment.restore()
    (experiment.root / name).write_bytes(content)
    command, arguments = commands(experiment)[chosen]
    with answering(queue_of(experiment)), bounded():
        status, shown = output_of(command, arguments)
    assert status in {0, 1, 2, 3}
    assert "Traceback" not in shown
