"""prefect.yaml is checked before anything is deployed: what, where, and the nearest name."""

from __future__ import annotations

import pytest

from deployments.check import PREFECT_FILE, load_prefect_file, main
from preprocess.faults import FaultsError
from preprocess.roots import CHECKOUT


@pytest.fixture
def faults_of(tmp_path):
    """The faults of the shipped file after one replacement."""

    def check(old: str, new: str) -> str:
        text = PREFECT_FILE.read_text(encoding="utf-8")
        assert old in text
        (tmp_path / "prefect.yaml").write_text(text.replace(old, new, 1), encoding="utf-8")
        with pytest.raises(FaultsError) as caught:
            load_prefect_file(tmp_path / "prefect.yaml")
        return str(caught.value)

    return check


def test_the_shipped_file_is_sound():
    """One deployment for each set of parameters; the schedule is off and never overlaps."""
    found = load_prefect_file()
    assert [each.full_name for each in found.deployments] == [
        "train-scenes/local",
        "train-scenes/slurm",
        "difix-data/slurm",
        "difix-loop/slurm",
        "train-scenes/nightly",
    ]
    nightly = found.deployments[-1]
    assert [each.active for each in nightly.schedules] == [False]
    limit = nightly.concurrency_limit
    assert (limit.limit, limit.collision_strategy) == (1, "CANCEL_NEW")
    assert {each.work_pool.name for each in found.deployments} == {"training"}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "run_all: true",
            "run_al: true",
            ["train-scenes/local: unknown parameter: run_al", "run_all"],
        ),
        ("run_all: true", "submit: true", ["unknown parameter: submit"]),
        ("run_all: true", "workers: -1", ["parameter workers is not valid: -1", "greater than"]),
        ("run_all: true", 'run_all: "yes"', ["parameter run_all is not valid: 'yes'"]),
        ("run_all: true", "time_limit: 3:00:00", ["parameter time_limit", "10800", "in quotes"]),
        ("run_all: true", "time_limit: soon", ["parameter time_limit is not valid: 'soon'"]),
        ("run_all: true", "overrides: a=1", ["parameter overrides"]),
        ("run_all: true", "overrides: [seed]", ["train-scenes/local", "'seed'", "key=value"]),
        ("run_all: true", "sweep: ['seed=1,1']", ["train-scenes/local", "a value twice"]),
        (
            "run_all: true",
            "sweep: ['seed=1,x']",
            ["train-scenes/local", "'seed=x'", "whole number"],
        ),
        (
            "run_all: true",
            "overrides: [train.optimization.epoch=3]",
            ["train-scenes/local: an override names a key", "train.optimization.epochs"],
        ),
        (
            "run_all: true",
            "overrides: [train.optimization.epochs=five]",
            ["train-scenes/local: an override has the wrong type", "a whole number"],
        ),
        (
            "cluster: local",
            "cluster: lokal",
            ["parameter cluster is not valid: 'lokal'", "'local'"],
        ),
        (
            "run_all: true",
            "orphan_grace: scene",
            ["train-scenes/local: --orphan-grace belongs to", "--cluster slurm"],
        ),
        ("      exp_name: nightly\n", "", ["train-scenes/nightly: exp_name is missing"]),
        ("exp_name: nightly", "exp_name: a/b", ["parameter exp_name is not valid: 'a/b'"]),
        (
            "    parameters:",
            "    parameter:",
            ["train-scenes/local: parameter: unknown key", "parameters"],
        ),
        (
            "deployments:\n",
            "deployment:\n",
            ["deployment: unknown key", "did you mean deployments"],
        ),
        ("        cron:", "        crom:", ["crom: unknown key", "did you mean cron"]),
        (
            "        active:",
            "        parameters: {seed: 1}\n        active:",
            ["copy the deployment"],
        ),
        ("    schedules: []\n", "", ["train-scenes/local: schedules is missing"]),
        ("CANCEL_NEW", "CANCEL_OLD", ["collision_strategy", "'CANCEL_NEW' or 'ENQUEUE'"]),
        ('"0 1 * * *"', '"0 1 * *"', ["train-scenes/nightly: schedule nightly", "'0 1 * *'"]),
        ('"0 1 * * *"', '"0 0 31 2 *"', ["schedule nightly is not valid", "never comes"]),
        ("timezone: UTC", "timezone: PST8", ["schedule nightly is not valid", "'PST8'"]),
        ("name: nightly", "name: a/b", ["a/b: name", "should match"]),
        ("flow:difix_data", "flow:difix_dat", ["did you mean flows.flow:difix_data"]),
        ("flows.flow:train_scenes", "flows/flow.py:train_scenes", ["flows.flow:train_scenes"]),
        ("name: slurm", "name: local", ["two deployments have one name: train-scenes/local"]),
        ("name: training", "nam: training", ["nam: unknown key", "did you mean name"]),
        ("build:", "build: [", ["can't be read as YAML"]),
    ],
)
def test_a_fault_is_named(faults_of, old, new, told):
    """Misspelt keys and parameters, wrong values, what Prefect would take and lose."""
    message = faults_of(old, new)
    for words in told:
        assert words in message


def test_all_faults_are_told_at_once(faults_of):
    """A misspelt key hides no wrong parameter."""
    message = faults_of(
        "    parameters:\n      cluster: local", "    tag: x\n    parameters:\n      cluster: no"
    )
    assert "tag: unknown key" in message
    assert "parameter cluster is not valid" in message


def test_the_stanza_in_the_docs_can_be_copied(tmp_path):
    """As the page shows it, at the end of the shipped file."""
    page = (CHECKOUT / "docs" / "server.md").read_text(encoding="utf-8")
    stanza = page.split("```yaml\n")[1].split("```")[0]
    copy = tmp_path / "prefect.yaml"
    copy.write_text(PREFECT_FILE.read_text(encoding="utf-8") + stanza, encoding="utf-8")
    assert load_prefect_file(copy).deployments[-1].full_name == "train-scenes/weekly-captured"


def test_the_command_tells_and_exits_with_2(tmp_path, capsys):
    """Nothing of it is deployed."""
    assert main([str(tmp_path / "none.yaml")]) == 2
    assert "nothing is deployed" in capsys.readouterr().err
    assert main([]) == 0


def test_a_wrong_setting_of_prefect_is_a_fault(monkeypatch, capsys):
    """Not a traceback of its import."""
    monkeypatch.setenv("PREFECT_API_REQUEST_TIMEOUT", "soon")
    assert main([]) == 2
    assert "Prefect's settings can't be read: request_timeout" in capsys.readouterr().err
