"""Which variables a plan hands on, and what it does not write down."""

from __future__ import annotations

import pytest

from training.configuration.job_variables import HIDDEN, given_variables, without_secrets


@pytest.mark.parametrize("name", ["DATA_ROOT", "TS_BODY_FILE", "LEARNING_RATE", "TOKENIZER"])
def test_what_was_resolved_here_goes_to_the_job(name):
    """A job that a shell profile gives another value trains with that of the plan."""
    assert given_variables([name, "UNSET"], {name: "1"}) == {name: "1"}


@pytest.mark.parametrize(
    "name",
    [
        "WANDB_API_KEY",
        "HF_TOKEN",
        "MY_SECRET",
        "DB_PASSWORD",
        "AWS_CREDENTIALS",
        "TMPDIR",
        "SLURM_JOB_ID",
        "CUDA_VISIBLE_DEVICES",
        "HOSTNAME",
        "LD_LIBRARY_PATH",
        "PATH",
    ],
)
def test_secrets_and_what_belongs_to_the_job_stay_out(name):
    """A plan is a file; a node has its own folders and GPUs."""
    assert given_variables([name], {name: "1"}) == {}


def test_secrets_are_not_written_down():
    """By their key or their variable, however deep; numbers such as max_tokens are none."""
    values = {"hub.api_key": "abc", "hub.user": "me", "hub.login": "xyz", "max_tokens": 512}
    written = {"hub.login": "${oc.env:HF_TOKEN,none}"}
    shown = {**values, "hub.api_key": HIDDEN, "hub.login": HIDDEN}
    assert without_secrets(values, written) == shown
