"""The page of faults says what the marked tests prove, and each of them was seen red."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.breakages import BREAKAGES
from tests.faults.catalogue import ALL_FAULTS, FAULTS, NOT_APPLICABLE, WAYS
from tests.faults.cells import CELLS, Cell, cell_of, function_of, merge
from tests.faults.outcomes import Outcomes
from tests.faults.page import PAGE, page_with, table
from tests.faults.red import CHECKOUT, read_seen

WORDS = {
    "fault": "the trainer raises",
    "way": "launcher",
    "ends": "failed",
    "attempts": "trainer_error",
    "left": "nothing",
    "flow": "failed",
    "rerun": "trains it",
    "breakage": "broken",
}


@pytest.fixture
def cells(request):
    """The cells of all tests that were collected."""
    return request.config.stash[CELLS]


@pytest.fixture(autouse=True)
def _one_breakage(request, monkeypatch):
    if "words" in request.fixturenames:
        monkeypatch.setitem(BREAKAGES, "broken", BREAKAGES[next(iter(BREAKAGES))])


@pytest.fixture
def words():
    """The words of a marker."""
    return dict(WORDS)


def is_whole_suite(config: pytest.Config) -> bool:
    tests = CHECKOUT / "tests"
    return [Path(argument).resolve() for argument in config.args] == [tests]


def test_the_page_is_current(request, cells):
    """Else `python -m tests.faults --page` writes it; a part of the suite has its own cells."""
    text = PAGE.read_text(encoding="utf-8")
    if is_whole_suite(request.config):
        assert text == page_with(text, table(cells))
    else:
        assert [cell for cell in cells if cell.test_name not in text] == []


def test_what_was_seen_red_is_there(cells):
    """No test that has gone or names another breakage; `python -m tests.faults.red` repeats it."""
    now = {(cell.breakage, cell.test) for cell in cells}
    files = {function_of(cell.test).partition("::")[0] for cell in cells}
    seen = {(name, test) for name, tests in read_seen().items() for test in tests}
    assert {each for each in seen - now if each[1].partition("::")[0] in files} == set()


def test_every_cell_was_seen_red(request, cells):
    """`python -m tests.faults.red` breaks what a new test guards, and writes down that it fails."""
    seen = read_seen()
    red = {cell.key for cell in cells if cell.test in seen.get(cell.breakage, [])}
    every = {(fault, way) for fault in ALL_FAULTS for way in WAYS} - set(NOT_APPLICABLE)
    wanted = every if is_whole_suite(request.config) else {cell.key for cell in cells}
    assert sorted(wanted - red) == []


@pytest.mark.parametrize("name", BREAKAGES)
def test_a_breakage_can_still_be_done(name):
    """The text that it replaces stands once in its file."""
    broken = BREAKAGES[name]
    text = (CHECKOUT / broken.file).read_text(encoding="utf-8")
    assert text.count(broken.old) == 1, broken.old
    assert broken.old != broken.new


def test_the_catalogue_is_sound():
    """No fault twice, and reasons only for faults and ways that there are."""
    assert len(ALL_FAULTS) == sum(map(len, FAULTS.values()))
    assert {fault for fault, _ in NOT_APPLICABLE} <= ALL_FAULTS
    assert {way for _, way in NOT_APPLICABLE} <= set(WAYS)


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"fault": "rises"}, "unknown fault 'rises'"),
        ({"way": "cloud"}, "unknown way 'cloud'; known are: launcher"),
        ({"flow": "well"}, "unknown flow 'well'"),
        ({"breakage": "none"}, "unknown breakage 'none'"),
        ({"more": "x"}, "has no more"),
        ({"fault": "squeue fails"}, "the catalogue says that launcher asks nothing of Slurm"),
    ],
)
def test_a_wrong_word_fails_the_collection(words, wrong, complaint):
    with pytest.raises(pytest.UsageError, match=complaint):
        cell_of(pytest.mark.fault(**words | wrong).mark, "t")


def test_a_missing_word_fails_the_collection(words):
    del words["ends"], words["flow"]
    with pytest.raises(pytest.UsageError, match="lacks ends, flow"):
        cell_of(pytest.mark.fault(**words).mark, "t")


def test_variants_of_a_test_are_one_cell_and_two_tests_are_none(words):
    """The cell's test is the function."""
    cells = [Cell(**words, test=f"a.py::f[{number}]") for number in range(3)]
    assert [cell.test for cell in merge(cells)] == ["a.py::f"]
    assert merge(cells[:1]) == cells[:1]
    with pytest.raises(pytest.UsageError, match=r"by a.py::f\[0\] and by a.py::g"):
        merge([cells[0], Cell(**words, test="a.py::g")])


def test_what_has_not_passed_is_not_said_to_hold(words):
    """The page shows the outcome instead of what the marker promises."""
    cell = Cell(**words, test="a.py::f")
    assert "| the trainer raises | launcher | failed | trainer_error |" in table([cell])
    shown = table([cell], {"a.py::f": "skipped"})
    assert "| the trainer raises | launcher | **the test has skipped** |" in shown
    assert "| *no test yet* |" in shown
    assert "| *needs no Prefect server* |" in shown


def test_a_cell_is_as_good_as_the_worst_phase_of_its_variants(words):
    """A failure in a teardown is one."""
    plugin = Outcomes()
    for name, when, outcome in [
        ("a.py::f[0]", "setup", "passed"),
        ("a.py::f[0]", "teardown", "failed"),
        ("a.py::f[1]", "setup", "passed"),
        ("a.py::f[1]", "call", "passed"),
        ("a.py::g", "setup", "skipped"),
    ]:
        told = [] if "g" in name else [("fault", {**words, "test": name})]
        report = pytest.TestReport(name, ("", 0, ""), {}, outcome, None, when)
        report.user_properties = told
        plugin.pytest_runtest_logreport(report)
    (cell,) = plugin.as_json()
    assert (cell["test"], cell["outcome"]) == ("a.py::f", "failed")
