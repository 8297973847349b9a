"""Overrides against the configuration: refused before anything starts, or passed on untouched."""

from __future__ import annotations

import pytest

from preprocess.faults import FaultsError
from training.configuration.overrides import check_syntax, compose, select

CONFIG = """
seed: 0
rate: 1e-3
name: word
flag: true
ids: []
layers: [8, 8]
needed: ???
run:
  epochs: 5
  limit: null
  root: ${oc.env:NOWHERE,here}
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "conf" / "train.yaml"
    path.parent.mkdir()
    path.write_text(CONFIG)
    return path


def faults_of(config, *overrides):
    try:
        faults = compose(config, overrides).faults
    except FaultsError as error:
        faults = error.faults
    return [str(fault) for fault in faults]


def test_without_overrides_the_result_is_what_hydra_composes(config):
    """The quick way and Hydra agree, also on 1e-3: a fingerprint must not depend on the way."""
    assert compose(config, ()) == compose(config, ("seed=0",))


def test_the_shipped_configuration_reads_the_same_both_ways():
    """The same for the project's own train.yaml."""
    from training.plan.train_script import OWN_CONFIG

    assert compose(OWN_CONFIG, ()) == compose(OWN_CONFIG, ("seed=0",))


def test_no_override_needs_no_hydra(config):
    """A plain launch does not pay for Hydra's import."""
    import subprocess
    import sys

    code = (
        "import sys; from pathlib import Path;"
        "from training.configuration.overrides import compose;"
        f"compose(Path({str(config)!r}), ()); sys.exit('hydra' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("run.epoch=5", "did you mean run.epochs?"),
        ("epochs=5", "did you mean run.epochs?"),
        ("run.epochs", "write key=value"),
        ("run.epochs=five", "expected a whole number, like its default 5"),
        ("run.epochs=2.5", "expected a whole number"),
        ("++run.epochs=five", "expected a whole number"),
        ("+run.epochs=6", "already at 'run.epochs'"),
        ("layers.7=6", "list index out of range"),
        ("layer.0=6", "lacks"),
        ("~run.epochs=6", "The value of 'run.epochs' is 5"),
        ("hydra.run.dir=/tmp", "has no effect"),
        ("hydra.mode=MULTIRUN", "has no effect"),
        ("++hydra.job.chdir=true", "has no effect"),
        ("hydra/job_logging=disabled", "has no effect"),
        ("--multirun", "one run a scene"),
        ("rate=fast", "expected a number"),
        ("flag=1", "expected true or false"),
        ("ids=4", "expected a list"),
        ("run=3", "expected a mapping"),
        ("name=a,b", "sweep"),
        ("name=a#b", "quoted for Hydra: \"name='a#b'\""),
        ("shared.exp_name=x", "use --exp-name"),
        ("~sed", "did you mean seed?"),
    ],
)
def test_a_wrong_override_is_refused_with_its_remedy(config, override, words):
    """Unknown key, no =, wrong type, sweep, unquoted characters, the launcher's own keys."""
    (fault,) = faults_of(config, override)
    assert words in fault
    assert override in fault


def test_all_wrong_overrides_are_shown_at_once(config):
    """Nobody repairs one override a time."""
    assert len(faults_of(config, "epochs=5", "foo", "flag=1", "seed=1")) == 3


def test_what_is_right_is_composed_beside_what_is_wrong(config):
    """So that later checks can go on and add their faults to the same message."""
    composed = compose(config, ("seed=7", "epochs=5"))
    assert composed.content["seed"] == 7
    assert len(composed.faults) == 1


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("run.epochs=7", "run.epochs", 7),
        ("rate=1", "rate", 1),
        ("name='a#b, [%] ü'", "name", "a#b, [%] ü"),
        ("ids=[4,16]", "ids", [4, 16]),
        ("run.limit=3", "run.limit", 3),
        ("+run.new=1", "run.new", 1),
        ("name=${run.root}", "name", "${run.root}"),
        ("run.root=/a b/c", "run.root", "/a b/c"),
        ("layers.1=4", "layers", [8, 4]),
        ("++run.epochs=7", "run.epochs", 7),
        ("~run.root", "run", {"epochs": 5, "limit": None}),
        ("needed=4", "needed", 4),
        ("needed=word", "needed", "word"),
    ],
)
def test_a_right_override_is_composed(config, override, key, value):
    """What Hydra will see in the trainer."""
    assert select(compose(config, (override,)).content, key) == value


def test_a_script_without_configuration_gets_only_a_syntax_check():
    """key=value is all that is asked for."""
    check_syntax(["a=1", "b=x,y#"])
    with pytest.raises(FaultsError, match="write key=value"):
        check_syntax(["a=1", "b"])


@pytest.mark.parametrize("content", ["a: [", "- 1", "", "a: 1\nb: 2\na: 3", "b: {a: 1, a: 1}"])
@pytest.mark.parametrize("overrides", [(), ("a=2",)])
def test_a_broken_configuration_is_named(config, content, overrides):
    """Not YAML, a list, empty, duplicate keys: the file is in the message."""
    config.write_text(content)
    assert "train.yaml" in faults_of(config, *overrides)[0]


def test_what_a_deletion_removes_is_said(config):
    """`~key` may be right, but nobody sees by it how much it takes away."""
    (warning,) = compose(config, ("~run", "seed=1")).warnings
    assert warning == "~run removes run.epochs=5, run.limit=None, run.root=${oc.env:NOWHERE,here}"
