"""What a deploy makes of fields that people have edited in the UI, field by field."""

from __future__ import annotations

import pytest

from deployments.check import load_prefect_file
from deployments.edits import (
    KEPT_AS,
    last_deployed,
    merged,
    of_file,
    of_server,
    without_defaults,
)

FILE = {"description": "a", "parameters": {"seed": 1, "workers": 2}, "schedules": {}}
NIGHT = {"cron": "0 1 * * *", "timezone": "UTC", "active": False}


def with_parameters(**parameters):
    return {**FILE, "parameters": parameters}


def with_schedule(**changes):
    return {**FILE, "schedules": {"night": {**NIGHT, **changes}}}


@pytest.mark.parametrize(
    ("base", "current", "wanted", "result", "told"),
    [
        (FILE, FILE, FILE, FILE, []),
        (FILE, FILE, {**FILE, "description": "b"}, {**FILE, "description": "b"}, []),
        (
            FILE,
            with_parameters(seed=7, workers=2),
            with_parameters(seed=1, workers=3),
            with_parameters(seed=7, workers=3),
            ["parameters.seed is kept as edited in the UI: 7 (prefect.yaml has 1)"],
        ),
        (FILE, FILE, with_parameters(seed=1), with_parameters(seed=1), []),
        (
            FILE,
            with_parameters(seed=1, workers=2, force=True),
            FILE,
            with_parameters(seed=1, workers=2, force=True),
            ["parameters.force is kept as edited in the UI: True (prefect.yaml has nothing)"],
        ),
        (
            None,
            with_parameters(seed=7),
            FILE,
            FILE,
            ["parameters.seed is reset: 1 (was 7)"],
        ),
        (None, with_schedule(active=True), with_schedule(), with_schedule(active=True), []),
        (with_schedule(), with_schedule(active=True), FILE, with_schedule(active=True), None),
        (with_schedule(), with_schedule(), FILE, FILE, []),
        (
            with_schedule(),
            with_schedule(),
            with_schedule(active=True),
            with_schedule(active=True),
            [],
        ),
        (
            with_schedule(),
            with_schedule(cron="0 2 * * *"),
            with_schedule(timezone="Asia/Tokyo"),
            with_schedule(cron="0 2 * * *", timezone="Asia/Tokyo"),
            [
                (
                    "schedules.night.cron is kept as edited in the UI: '0 2 * * *'"
                    " (prefect.yaml has '0 1 * * *')"
                )
            ],
        ),
        (
            with_schedule(),
            FILE,
            with_schedule(),
            FILE,
            None,
        ),
        (
            {**FILE, "work_pool": "training"},
            FILE,
            {**FILE, "work_pool": "training"},
            {**FILE, "work_pool": "training"},
            ["work_pool is reset: 'training' (was nothing)"],
        ),
        (
            {**FILE, "job_variables": {}},
            {**FILE, "job_variables": {"env": {"KEY": "secret"}}},
            {**FILE, "job_variables": {}},
            {**FILE, "job_variables": {"env": {"KEY": "secret"}}},
            ["job_variables.env is kept as edited in the UI"],
        ),
    ],
)
def test_an_edit_stays_and_the_file_decides_the_rest(base, current, wanted, result, told):
    """What differs from the last deployed is an edit; without that, the file wins and says so."""
    found, edits = merged(base, current, wanted)
    assert found == result
    assert told is None or [str(each) for each in edits] == told


def test_reset_takes_fields_back_and_leaves_switches():
    """All fields are the file's; a schedule that people switched on stays on."""
    current = {**with_schedule(active=True, cron="0 2 * * *"), "description": "mine"}
    found, edits = merged(with_schedule(), current, with_schedule(), reset=True)
    assert found == with_schedule(active=True)
    assert [each.is_kept for each in edits] == [False, False]


def answer_of(**changes):
    """A deployment as the server describes it."""
    return {
        "description": "a",
        "tags": ["b", "a"],
        "parameters": {"exp_name": "e", "seed": 1, "workers": 0},
        "work_pool_name": "training",
        "work_queue_name": "default",
        "job_variables": {},
        "paused": False,
        "global_concurrency_limit": None,
        "concurrency_options": None,
        "schedules": [],
        "parameter_openapi_schema": {"properties": {}},
        **changes,
    }


def test_the_shipped_file_and_the_servers_answer_are_described_alike():
    """Else each deploy would take the file for an edit."""
    stanza = load_prefect_file().deployments[-1]
    (schedule,) = stanza.schedules
    when = {"cron": schedule.cron, "timezone": schedule.timezone, "day_or": True}
    same = answer_of(
        description=stanza.description,
        tags=[],
        parameters=stanza.parameters,
        global_concurrency_limit={"limit": 1},
        concurrency_options={"collision_strategy": "CANCEL_NEW", "grace_period_seconds": None},
        schedules=[
            {"slug": "nightly", "schedule": when, "active": False},
            {"slug": None, "schedule": {"interval": 60}, "active": True},
        ],
    )
    assert of_server(same) == of_file(stanza)


def test_defaults_that_the_form_sends_are_no_edits():
    """Where file and last deploy don't name them, in boxes too."""
    box = {"properties": {"time": {"default": ""}, "memory": {"default": ""}}}
    schema = {
        "properties": {
            "workers": {"default": 0},
            "seed": {},
            "slurm": {"$ref": "#/definitions/Slurm"},
            "trainer": {"$ref": "#/definitions/Slurm"},
        },
        "definitions": {"Slurm": box},
    }
    sent = {"exp_name": "e", "workers": 0, "seed": None, "trainer": {"time": ""}}
    sent |= {"slurm": {"time": "", "memory": "9G"}}
    answer = answer_of(parameters=sent, parameter_openapi_schema=schema)
    current = without_defaults(of_server(answer), answer, None, with_parameters(exp_name="e"))
    assert current["parameters"] == {"exp_name": "e", "slurm": {"memory": "9G"}}
    named = with_parameters(workers=0, slurm={"time": ""})
    current = without_defaults(of_server(answer), answer, None, named)
    assert current["parameters"]["workers"] == 0
    assert current["parameters"]["slurm"] == {"time": "", "memory": "9G"}


@pytest.mark.parametrize("is_known", [False, True])
def test_options_that_got_a_box_by_an_upgrade_are_no_edits(is_known):
    """Whether the older version kept what it deployed or not; what is gone is said as such."""
    old = {"exp_name": "e", "slurm_time": "3:00:00"}
    wanted = with_parameters(exp_name="e", slurm={"time": "3:00:00"})
    schema = {"properties": {}} | ({KEPT_AS: with_parameters(**old)} if is_known else {})
    answer = answer_of(parameters=old, parameter_openapi_schema=schema)
    base = last_deployed(answer)
    current = without_defaults({**FILE, "parameters": old}, answer, base, wanted)
    assert merged(base, current, wanted) == (wanted, [])
    _, edits = merged(base, current, with_parameters(exp_name="e"))
    gone = "parameters.slurm is reset, prefect.yaml does not set it (was {'time': '3:00:00'})"
    assert [str(each) for each in edits] == ([] if is_known else [gone])
