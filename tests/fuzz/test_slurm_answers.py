"""Whatever Slurm's commands answer: jobs as far as they are known, or an error that names Slurm."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import pytest
from fuzz.mutations import NASTY, bounded, edited, text
from fuzz.slurm_answers import (
    ACCOUNT,
    COMPLETION,
    CONFIGURATION,
    OLDER,
    QUEUED,
    answering,
    queue_line,
)
from hypothesis import example, given
from hypothesis import strategies as st

from preprocess.faults import Fault
from training.jobs.job_cause import cause_of_job
from training.slurm import client, parsers

MOMENT = datetime(2026, 11, 30, 20, 30, tzinfo=UTC)
CALLS = (
    client.my_jobs,
    lambda: client.jobs_of_id("12"),
    lambda: client.job_ends({"12_3", "15"}, {"12_3": MOMENT}),
    lambda: client.previous_run("12_3", MOMENT),
    lambda: client.submit(["sbatch", "--job-name=exp", "x.slurm"], 2, 0.0),
    lambda: client.test_only(["sbatch", "x.slurm"]),
    lambda: client.cancel({"12"}),
    client.max_array_size,
    client.a_node_address,
)


@st.composite
def queues(draw):
    """Answers of squeue: lines as asked for with some of their fields changed, and other lines."""
    fields = st.fixed_dictionaries(
        {}, optional={key: edited(value, 1) | text for key, value in QUEUED.items()}
    )
    lines = [queue_line(**draw(fields)) for _ in range(draw(st.integers(0, 3)))]
    return "\n".join([*lines, draw(st.sampled_from(["", OLDER]) | text)])


answers = st.one_of(
    queues(),
    queues().flatmap(edited),
    edited(ACCOUNT),
    st.lists(edited(ACCOUNT, 1), max_size=3).map("\n".join),
    edited(COMPLETION),
    edited(CONFIGURATION),
    st.sampled_from(["12\n", "12;cluster\n", "sbatch: a banner\n12\n", *NASTY]),
)


@given(answer=answers, status=st.sampled_from([0, 0, 0, 1]), message=text)
@example("MaxArraySize = many", 0, "")
@example("MaxArraySize = 0", 0, "")
@example("JobCompType = jobcomp/filetxt\nJobCompLoc = /a\0b", 0, "")
@example(queue_line(ArrayTaskID="9" * 5000), 0, "")
@example(queue_line(TimeLeft="9" * 5000 + ":00"), 0, "")
@example(queue_line(State="FAILED", StartTime="0001-01-01T00:00:00"), 0, "")
def test_no_answer_of_slurm_is_a_traceback(answer, status, message):
    with answering(answer, status, message), bounded():
        for call in CALLS:
            with contextlib.suppress(client.SlurmError):
                call()


@given(answer=edited(ACCOUNT) | queues())
@example(ACCOUNT.replace("2026-11-30T20", "0001-01-01T20"))
@example(ACCOUNT.replace("2026-11-30T21", "9999-12-31T23"))
@example(ACCOUNT.replace("by 1000", "by " + "9" * 5000))
def test_how_a_job_ended_can_always_be_told(answer):
    ends = [*parsers.account_runs(answer), *parsers.queue_ends(answer).values()]
    for end in ends:
        cause_of_job(end)
        assert str(Fault(str(end)))
        end.covers(MOMENT)
        end.may_cover(MOMENT)


@given(answer=edited("12\n") | edited("12;cluster\n"))
@example("\uff11\uff12")
def test_a_submitted_job_has_a_number_or_the_answer_is_refused(answer):
    """Something else would be given to scancel later."""
    try:
        job_id = client._job_id(answer)
    except client.SlurmAwayError:
        return
    assert job_id.isascii()
    assert job_id.isdecimal()


@pytest.mark.parametrize("size", ["0", "00"])
def test_a_slurm_without_arrays_is_named(size):
    """slurm.conf(5): MaxArraySize 0 switches job arrays off."""
    with answering(f"MaxArraySize = {size}\n"), pytest.raises(client.SlurmRefusedError) as refused:
        client.max_array_size()
    assert "flow" in str(refused.value)
