"""Parameters of a flow run: boxes, presets, and the flat names of older deployments."""

from __future__ import annotations

import jsonschema
import pytest
from prefect.utilities.schema_tools.validation import validate

from flows.flow import train_scenes
from flows.form import form_schema
from flows.options import FlowOptions
from flows.parameters import FIELDS, IN_BOX, form_values, option_values, values_of
from preprocess.faults import FaultsError
from training.plan.options import checked_options

CODE = train_scenes.parameters.model_dump()


def form_of(cluster: str, scenes=("a", "b")):
    return form_schema(CODE, {"cluster": cluster}, scenes)


def fields_of(form) -> set[str]:
    """The flat names of all options that a form shows, in boxes too."""
    shown = set(form["properties"]) - set(IN_BOX)
    for box in set(form["properties"]) & set(IN_BOX):
        name = form["properties"][box]["$ref"].rpartition("/")[2]
        shown |= {IN_BOX[box][each] for each in form["definitions"][name]["properties"]}
    return shown


def refusal(form, **parameters) -> str:
    """What the server says of a request for a run, in the words that the form shows."""
    errors = validate({"exp_name": "e", **parameters}, form)
    return "; ".join(each.message for each in errors)


def test_what_boxes_hold_are_options():
    """Those given flat too, which win; presets are overrides unless one sets the same key."""
    given = {
        "exp_name": "e",
        "slurm": {"time": "90", "qos": "high", "partition": None},
        "slurm_time": "30",
        "trainer": None,
        "quality": "quick look",
        "epochs": 3,
        "seed": 7,
        "overrides": ["seed=8", "data.cache_mb=0"],
    }
    options = checked_options(FlowOptions, option_values(given))
    assert (options.slurm_time, options.slurm_qos) == ("30", "high")
    assert options.overrides == (
        "train.optimization.epochs=3",
        "train.optimization.sample_every=2",
        "seed=8",
        "data.cache_mb=0",
    )


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"slurm": 3}, "slurm holds names"),
        ({"slurm": {"tim": "3"}}, "slurm has no such option: tim\n.*did you mean time"),
        ({"quality": "quik"}, "quick look"),
    ],
)
def test_what_is_no_box_and_no_quality_is_a_fault(wrong, told):
    """The command line can't give them, a schedule could."""
    with pytest.raises(FaultsError, match=told):
        option_values({"exp_name": "e", **wrong})


def test_older_parameters_are_taken_by_the_flow_and_the_server():
    """All flat: of a schedule, of `prefect.yaml`, of a command line's flow run."""
    options = checked_options(FlowOptions, {"exp_name": "e", "slurm_time": "90", "expect": ["a"]})
    flat = values_of(options)
    assert set(flat) == set(FIELDS)
    for cluster in ("local", "slurm"):
        assert refusal(form_of(cluster), **flat) == ""
    assert checked_options(FlowOptions, option_values(form_values(flat))) == options
    assert form_values(flat)["slurm"]["time"] == "90"
    assert not set(form_values(flat)) & {"slurm_time", "expect"}
    assert form_values({"slurm": None, "slurm_time": "90"}) == {"slurm": {"time": "90"}}
    assert form_values({"slurm": None}) == {}


def test_each_deployment_shows_its_own_fields():
    """A local run has no Slurm; a Slurm one no number of local workers; both a menu of scenes."""
    slurm = {name for name in FIELDS if name.startswith("slurm_")}
    local = fields_of(form_of("local"))
    assert not local & (slurm | {"aggregate_time", "aggregate_job_name", "cluster"})
    assert "workers" in local
    on_slurm = fields_of(form_of("slurm"))
    assert slurm <= on_slurm
    assert not on_slurm & {"workers", "cluster"}
    assert form_of("local")["properties"]["scenes"]["items"]["enum"] == ["a", "b"]
    assert "enum" not in form_of("local", ())["properties"]["scenes"]["items"]
    jsonschema.Draft202012Validator.check_schema(form_of("slurm"))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"exp_name": "a/b"}, "'letters, digits and _ . + = -, e.g. my_exp' was expected"),
        ({"time_limit": "soon"}, "3:00:00"),
        ({"overrides": ["seed"]}, "'key=value, e.g. seed=1' was expected"),
        ({"slurm": {"mem": "much"}}, "'an amount such as 96G, or megabytes' was expected"),
        ({"slurm": {"tim": "90"}}, "'tim' was unexpected"),
        ({"slurm_time": "soon"}, "3:00:00"),
        ({"cluster": "lokal"}, "'lokal' is not one of"),
        ({"workerz": 1}, "'workerz' do"),
        ({"scenes": ["c"]}, "'c' is not one of ['a', 'b']"),
        ({"quality": "quik"}, "'quik' is not one of"),
    ],
)
def test_a_refusal_is_in_words(wrong, told):
    """Without a regular expression, in a box and flat; whatever is right passes."""
    form = form_of("slurm")
    assert told in refusal(form, **wrong)
    if "workerz" not in wrong:
        assert "^" not in refusal(form, **wrong)
    assert refusal(form, epochs=3, slurm={"gpus": 2, "partition": "gpu,long"}, scenes=["a"]) == ""
