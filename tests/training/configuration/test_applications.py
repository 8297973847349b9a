"""Other people's Hydra: what is accepted runs, and what is refused fails, in the real Hydra.

The applications in `applications/` have the structure of public projects: a Lightning template, a
radiance field, two networks in packages of one group, structured configurations, nested defaults.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from preprocess.faults import FaultsError
from training.configuration.applications import Application
from training.configuration.overrides import select
from training.configuration.script_configs import compose_application

APPLICATIONS = Path(__file__).parent / "applications"
CONFIGS = {
    "template": "train",
    "radiance": "nerf",
    "adversarial": "gan",
    "structured": "config",
    "nested": "main",
}
NEEDED = {"radiance": ("dataset.path=/data",), "nested": ("database=sqlite",)}
"""What has to be given beside the override that a test is about."""
SHARED = "shared: {scene_name: '???', exp_name: '???'}\n"


def load(script, config, *overrides):
    """Compose an application's configuration as a launch does."""
    launch = ("shared.scene_name=__any_scene__", "shared.exp_name=exp")
    composed = compose_application(Application(config, overrides, launch), script)
    if composed.faults:
        raise FaultsError(composed.faults)
    return composed


def load_named(name, *overrides):
    """The same for one of the applications here."""
    config = APPLICATIONS / name / "conf" / f"{CONFIGS[name]}.yaml"
    return load(APPLICATIONS / name / "app.py", config, *overrides)


def faults_of(load, *given):
    """Return the faults that `load` raises, as text."""
    with pytest.raises(FaultsError) as caught:
        load(*given)
    return "\n".join(map(str, caught.value.faults))


STARTER = """
import json, os, runpy, sys
import hydra
statuses = []
for command in json.load(sys.stdin):
    pid = os.fork()
    if not pid:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.argv, sys.path[0] = command, os.path.dirname(command[0])
        runpy.run_path(command[0], run_name="__main__")
        sys.exit()
    statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
json.dump(statuses, sys.stdout)
"""
"""Starts applications one after the other, each in a process of its own that has Hydra already."""


def exit_statuses(folder, given):
    """Return those of applications, with overrides, that are started as the launcher would."""
    names = ("shared.scene_name=a_1", "shared.exp_name=exp")
    commands = [[str(APPLICATIONS / name / "app.py"), *names, *more] for name, *more in given]
    variables = {"TS_RESULTS_ROOT": str(folder), "TS_SCENE_FILE": "a_1.json"}
    ended = subprocess.run(
        [sys.executable, "-c", STARTER],
        cwd=folder,
        env={**os.environ, **variables},
        input=json.dumps(commands),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=250,
    )
    return json.loads(ended.stdout)


HERE = "hydra.run.dir='${oc.env:TS_RESULTS_ROOT}/hydra'"
"""Where Hydra writes: the working folder of a launched script is the checkout."""
ACCEPTED = {
    "template": (
        "experiment=long",
        "model.depth=24",
        "++model.heads=8",
        "+trainer.fast=true",
        "callbacks.early_stopping.patience=3",
        "data.split.0=70",
        "hydra/job_logging=disabled",
        "hydra.job.chdir=false",
        "~logger",
        "seed=null",
    ),
    "radiance": (
        "dataset.path='/data/a b'",
        "model.layers.0=4",
        "model.encodings.1.frequencies=6",
        "train.lr=1",
        "train.epochs=2.5",
        "dataset.image_size=[400,300]",
        "hydra/job_logging=stdout",
        "hydra.output_subdir=hydra_files",
        HERE,
        "hydra.sweep.dir=unused",
    ),
    "adversarial": (
        HERE,
        "optimizer=sgd",
        "optimizer.momentum=0.5",
        "optimizer@generator.optimizer=sgd",
        "generator.optimizer.momentum=0.1",
        "network/blocks=residual",
        "network.blocks.skip=false",
        "+optimizer@encoder.optimizer=adam",
        "discriminator={channels:3}",
        "+discriminator.rank=2",
    ),
    "structured": (
        HERE,
        "algorithm=sac",
        "algorithm.temperature=0.5",
        "epochs='30'",
        "lr=1",
        "precision=HALF",
        "verbose=yes",
        "folder=/tmp/runs",
    ),
    "nested": (
        HERE,
        "database=mysql",
        "database.user=me",
        "server/site=internal",
        "server.site.vpn=false",
        "label='${join:a,${server.port}}'",
        "++server.port=8080",
        "~mirror",
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_what_hydra_accepts_is_launched_and_runs(lab, name):
    """By the launcher, with the real Hydra in the application."""
    lab.add_scene("a_1")
    config = APPLICATIONS / name / "conf" / f"{CONFIGS[name]}.yaml"
    flags = ("--train-script", str(APPLICATIONS / name / "app.py"), "--train-config", str(config))
    ended = lab.call(*flags, "--overrides", *ACCEPTED[name], stand_in=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert lab.causes("a_1") == ["ok"]


REFUSED = [
    ("template", "model.dpeth=24", "did you mean"),
    ("template", "model.depth=24", "lacks"),
    ("template", "experiment=lnog", "did you mean long?"),
    ("template", "experimnet=long", "did you mean experiment"),
    ("template", "data.split.3=1", "out of range"),
    ("template", "hydra/job_logging=colorfull", "no such option"),
    ("template", "hydra.jobs.chdir=true", "did you mean hydra.job"),
    ("template", "hydra.run.dir=${nope}/x", "an interpolation fails: hydra.run.dir"),
    ("radiance", "~model.layer", "model.layer"),
    ("adversarial", "optimizer.momentum=0.5", "did you mean discriminator.optimizer.momentum"),
    ("adversarial", "optimizer@generatr.optimizer=sgd", "generatr"),
    ("adversarial", "discriminator.channels=${generator.chanels}", "generator.chanels"),
    ("structured", "epochs=five", "could not be converted to Integer"),
    ("structured", "algorithm=dqn", "valid: ppo, sac"),
    ("structured", "algorithm.temperature=0.5", "algorithm"),
    ("structured", "precision=DOUBLE", "DOUBLE"),
    ("nested", "database=mysql", "database.user: ???"),
    ("nested", "server.site.vpn=true", "lacks"),
]


def needed(name, override):
    """What else has to be given with an override."""
    return [text for text in NEEDED.get(name, ()) if text.split("=")[0] not in override]


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    """Exit statuses of the refused, by application and override, and of one that is accepted."""
    given = [("adversarial", HERE, "optimizer=sgd")]
    given += [(name, *needed(name, override), override) for name, override, _ in REFUSED]
    found = exit_statuses(tmp_path_factory.mktemp("applications"), given)
    return {(name, more[-1]): status for (name, *more), status in zip(given, found, strict=True)}


def test_what_is_accepted_ends_well(ends):
    """Where what is refused ends otherwise, in the next test."""
    assert ends["adversarial", "optimizer=sgd"] == 0


@pytest.mark.parametrize(("name", "override", "words"), REFUSED)
def test_what_is_refused_would_fail(ends, name, override, words):
    """Before anything starts, with what is nearest; Hydra would end the run with an error."""
    message = faults_of(load_named, name, *needed(name, override), override)
    assert words in message
    assert override.split("=")[0] in message
    assert ends[name, override] != 0


def test_keys_of_the_chosen_option_only():
    """optimizer=sgd has a momentum and no betas, in whatever order they are given."""
    script = load_named("adversarial", "optimizer.momentum=0.5", "optimizer=sgd")
    assert select(script.content, "optimizer")["momentum"] == 0.5
    message = faults_of(load_named, "adversarial", "optimizer=sgd", "optimizer.betas=[0,1]")
    assert "did you mean" in message
    assert "optimizer.betas=[0,1]" in message


def test_all_that_is_wrong_is_said_at_once():
    """Each with its own reason, beside those that are right."""
    wrong = ("optimizer.bets=1", "network/blocks=dense", "generator.chanels=3", "foo", "a=1,2")
    with pytest.raises(FaultsError) as caught:
        load_named("adversarial", "optimizer=sgd", "optimizer.lr=1", *wrong)
    assert len(caught.value.faults) == len(wrong)


def test_another_type_is_a_warning_in_an_untyped_configuration():
    """Hydra takes it; a typed configuration converts or refuses it itself."""
    script = load_named("radiance", "dataset.path=/d", "train.epochs=2.5", "model.layers=3")
    first, second = script.warnings
    assert first == "train.epochs=2.5: the default 3 is a whole number"
    assert "is a list" in second
    assert not load_named("structured", "epochs='30'", "verbose=yes").warnings


def test_a_value_to_be_given_has_no_type():
    """`???` is a mark and no text."""
    assert not load_named("radiance", "dataset.path=[a,b]").warnings


def test_what_a_deletion_removes_is_said(monkeypatch):
    """Of a key and of a group."""
    monkeypatch.setenv("APPLICATION_ROOT", "/somewhere")
    script = load_named("template", "~callbacks", "~data.split")
    first, second = script.warnings
    assert first.startswith("~callbacks removes callbacks.checkpoint.dirpath=${paths.output_dir}")
    assert second == "~data.split removes data.split=[80, 10, 10]"


def test_a_value_by_the_scripts_resolver_can_be_removed():
    """Hydra resolves it for that: with the scene's name and the script's own resolver."""
    (warning,) = load_named("nested", "database=sqlite", "~label").warnings
    assert warning == "~label removes label=${join:${shared.scene_name},${server.name}}"


def test_a_variable_that_the_script_sets_is_a_warning(monkeypatch):
    """The template's script sets it before Hydra starts; nobody outside can know."""
    monkeypatch.delenv("APPLICATION_ROOT", raising=False)
    (warning,) = load_named("template").warnings
    assert "${oc.env:APPLICATION_ROOT}: not set here" in warning
    monkeypatch.setenv("APPLICATION_ROOT", "/somewhere")
    assert not load_named("template").warnings


def test_a_launch_shows_the_warnings(lab):
    """A dry run does, and creates nothing."""
    lab.add_scene("a_1")
    config = APPLICATIONS / "radiance" / "conf" / "nerf.yaml"
    flags = ("--train-script", str(APPLICATIONS / "radiance" / "app.py"), "--dry-run")
    more = ("--train-config", str(config), "--overrides", "dataset.path=/d", "~model")
    ended = lab.call(*flags, *more, stand_in=False)
    assert ended.returncode == 0
    assert "~model removes model.encodings=" in ended.stdout + ended.stderr


@pytest.fixture
def application(tmp_path):
    """A script that starts Hydra, and a place for its configuration."""
    (tmp_path / "conf").mkdir()
    script = tmp_path / "app.py"
    script.write_text("import hydra\n")
    return script, tmp_path / "conf" / "config.yaml"


BROKEN = [
    ("a: 1\n", SHARED.strip()),
    ("shared: {scene_name: '???'}\n", "lacks keys that the launcher sets: shared.exp_name"),
    ("shared: null\n", "shared.scene_name, shared.exp_name"),
    (SHARED + "a: 1\nb: 2\na: 3\n", "found duplicate key a"),
    (SHARED + "a: ${nope}\n", "an interpolation fails: a: Interpolation key 'nope' not found"),
    (SHARED + "a: [1, {b: '${..nope}'}]\n", "an interpolation fails"),
    (SHARED + "a: ${b}\nb: ${a}\n", "an interpolation fails"),
    (SHARED + "a: ${oc.decode:'[1'}\n", "an interpolation fails"),
    (SHARED + "a: '${b'\n", "does not compose"),
    (SHARED + "a: {b: [1, '???']}\n", "a.b.1: ???"),
    (SHARED.replace("}", ", scene_file: '???'}"), "write scene_file: ${oc.env:TS_SCENE_FILE}"),
    (SHARED + "hydra: {mode: MULTIRUN, sweeper: {params: {a: '1,2'}}}\na: 1\n", "several runs"),
    (SHARED + "hydra: {sweeper: {n_trials: 3}}\n", "n_trials"),
    (SHARED + "hydra: 3\n", "does not compose"),
    ("defaults: [override hydra/sweeper: optuna]\n" + SHARED, "hydra/sweeper/optuna"),
    ("defaults: [db: '???']\n" + SHARED, "You must specify 'db'"),
    ("defaults: [nowhere]\n" + SHARED, "nowhere"),
    ("defaults: 3\n" + SHARED, "defaults must be a list"),
    ("defaults: [3]\n" + SHARED, "Unsupported type in defaults"),
    ("a: [\n", "does not compose"),
    ("- 1\n", "must be a DictConfig"),
    ("", "lacks keys"),
    ("\x00", "does not compose"),
]


@pytest.mark.parametrize(("text", "words"), BROKEN)
@pytest.mark.parametrize(("imports", "overrides"), [("", ()), ("import hydra\n", ("+more=1",))])
def test_a_broken_application_is_a_fault_and_no_traceback(
    application, text, words, imports, overrides
):
    """With the words of the remedy, with overrides and without; so if no script can help."""
    script, config = application
    script.write_text(imports)
    config.write_text(text)
    message = faults_of(load, script, config, *overrides)
    assert words in message
    assert "+more" not in message


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("hydra.mode=MULTIRUN", "starts several runs: 'hydra.mode=MULTIRUN'"),
        ("+hydra.sweeper.params.a='1,2'", "has no effect"),
        ("hydra/sweeper=optuna", "no such option"),
        ("a=1,2", "is a sweep"),
        ("a=range(3)", "is a sweep"),
        ("--multirun", "option of Hydra"),
    ],
)
def test_a_sweep_is_refused(application, override, words):
    """One run trains one scene into one folder."""
    script, config = application
    config.write_text(SHARED + "a: 1\n")
    assert words in faults_of(load, script, config, override)


RESERVED = ["shared.exp_name=b", "++shared.exp_name=b", "shared={scene_name:b}", "~shared.exp_name"]


@pytest.mark.parametrize("name", ["structured", "nested", "radiance"])
@pytest.mark.parametrize("override", RESERVED)
def test_what_the_launcher_sets_is_refused(name, override):
    """Also where only the script, or a group's choice, makes the configuration compose."""
    message = faults_of(load_named, name, *NEEDED.get(name, ()), override)
    assert "an override sets what the launcher sets" in message


def test_sweeps_of_others_do_no_harm(application):
    """A configuration for `--multirun` is run once by us, with its defaults."""
    script, config = application
    config.write_text(SHARED + "a: 1\nhydra: {sweeper: {params: {a: '1,2'}}}\n")
    assert load(script, config).content["a"] == 1


@pytest.mark.parametrize("name", ["none.yaml", "config.yml"])
def test_a_configuration_that_is_not_there(application, name):
    """Hydra reads .yaml only."""
    script, config = application
    config.with_name("config.yml").write_text(SHARED)
    assert "config" in faults_of(load, script, config.with_name(name))


def test_a_script_that_cannot_be_imported_is_named(application):
    """Where it may register what the configuration names."""
    script, config = application
    script.write_text("import hydra, no_such_module\n")
    config.write_text("defaults: [schema]\n" + SHARED)
    message = faults_of(load, script, config)
    assert "No module named 'no_such_module'" in message
    assert "schema" in message


def test_a_script_without_a_main_guard_trains_nothing(application, tmp_path):
    """It is imported for what it registers, and Hydra then only prints."""
    script, config = application
    script.write_text(
        "import hydra\n"
        "from hydra.core.config_store import ConfigStore\n"
        "ConfigStore.instance().store(name='schema', node={'a': 1})\n"
        "@hydra.main(version_base=None, config_path='conf', config_name='config')\n"
        f"def main(cfg): open({str(tmp_path / 'trained')!r}, 'w')\n"
        "main()\n"
    )
    config.write_text("defaults: [schema, _self_]\n" + SHARED)
    assert load(script, config).content["a"] == 1
    assert not (tmp_path / "trained").exists()
