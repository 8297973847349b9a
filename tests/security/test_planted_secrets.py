"""Where a secret goes that a user has in the environment, or gives as an override."""

from __future__ import annotations

import json
import os
import stat
import uuid

import pytest

from training.configuration.job_variables import HIDDEN, without_secret_values
from training.system.secrets import NOTIFY_URL, PREFECT_SECRETS

OF_TRAINERS = ("WANDB_API_KEY", "HF_TOKEN", "DB_PASSWORD")
"""By design they are inherited: a trainer may need them."""
OURS = (*PREFECT_SECRETS, NOTIFY_URL)
MARK = uuid.uuid4().hex
"""In no file but by us."""
GIVEN = f"{MARK}-override"
OVERRIDES = ("--overrides", f"+hub.api_key={GIVEN}", "seed=1")
OWN_NOTES = {"environment.json", "arguments.jsonl"}
"""What the stand-in trainer writes of what it was given."""


def planted(name):
    return f"{MARK}-{name.lower()}"


def files_with(lab, text):
    """Return the files below a lab's folder that contain a text, but for the trainer's own."""
    return {
        path
        for path in lab.root.rglob("*")
        if path.is_file()
        and path.name not in OWN_NOTES
        and text in path.read_text(errors="replace")
    }


@pytest.fixture(scope="module")
def trained(module_lab):
    module_lab.environment |= {name: planted(name) for name in (*OF_TRAINERS, *OURS)}
    module_lab.add_scene("a")
    module_lab.finished = module_lab.run(*OVERRIDES)
    assert module_lab.finished.returncode == 0
    return module_lab


def test_no_variables_secret_is_in_any_file(trained):
    """Neither in plan, record, log, report nor in what imports are learnt by."""
    assert [name for name in (*OF_TRAINERS, *OURS) if files_with(trained, planted(name))] == []


def test_trainers_inherit_the_users_secrets_but_for_prefects(trained):
    """They need neither Prefect's API nor its password, nor where a flow sends its result."""
    given = json.loads((trained.output("a") / "environment.json").read_text())
    assert [given.get(name) for name in OF_TRAINERS] == [planted(name) for name in OF_TRAINERS]
    assert [name for name in OURS if name in given] == []


def test_an_overrides_secret_is_in_the_plan_alone_which_only_its_owner_reads(trained):
    """The trainer gets it as its argument; record, log, report and terminal do not show it."""
    plans = trained.root / "state" / "plans"
    (plan,) = files_with(trained, GIVEN)
    assert plan.parent == plans
    assert stat.S_IMODE(plan.stat().st_mode) == 0o600
    assert GIVEN not in trained.finished.stdout + trained.finished.stderr
    assert GIVEN in (trained.output("a") / "arguments.jsonl").read_text()
    assert "seed=1" in trained.record("a")["attempts"][0]["command"]


@pytest.mark.parametrize(
    "word",
    [
        "hub.api_key=hush",
        "+hub.api_key='hush, hush'",
        "--overrides=hub.api_key=hush",
        "--overrides=+DB_PASSWORD=hush",
        "hub={api_key:hush,user:me}",
        'hub={"api_key": hush}',
        "++logger.token=a\nhush",
    ],
)
def test_a_secrets_value_is_hidden_however_it_is_given(word):
    (shown,) = without_secret_values([word])
    assert "hush" not in shown
    assert HIDDEN in shown


@pytest.mark.parametrize("word", ["seed=1", "token", "a=${oc.env:HF_TOKEN}", "tokenizer=x", ""])
def test_what_is_no_secrets_value_is_shown(word):
    assert without_secret_values([word]) == [word]


NOTING_SBATCH = """#!/bin/bash
{ printf '%q ' "$@"; echo; env; for word in "$@"; do [[ $word == *.slurm ]] && cat "$word"; done
} >> "$FAKE/given"
echo 101
"""


def test_no_secret_is_in_a_jobs_command_line_or_script(lab, tmp_path):
    """sbatch exports this environment: Prefect's secrets are not in it, the trainer's are."""
    fake = tmp_path / "slurm"
    fake.mkdir()
    scontrol = "#!/bin/sh\necho 'MaxArraySize = 1001'\n"
    answers = {"sbatch": NOTING_SBATCH, "squeue": "#!/bin/sh\n", "scontrol": scontrol}
    for name, text in answers.items():
        (fake / name).write_text(text)
        (fake / name).chmod(0o755)
    lab.environment |= {name: planted(name) for name in (*OF_TRAINERS, *OURS)}
    lab.environment |= {"PATH": f"{fake}:{os.environ['PATH']}", "FAKE": str(fake)}
    lab.add_scene("a")
    submitted = lab.run("--submit", *OVERRIDES)
    assert "submitted: array job 101" in submitted.stdout
    lines = (fake / "given").read_text().splitlines()
    assert [line for line in lines if GIVEN in line] == []
    shown = {line.partition("=")[0] for line in lines if MARK in line}
    assert shown == set(OF_TRAINERS)
