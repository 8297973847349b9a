"""`python -m benchmarks`: order, statistics, the page, and what can't be measured here."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest

from benchmarks import __main__ as program
from benchmarks import page, runner
from benchmarks.processes import CHECKOUT
from benchmarks.runner import Finding
from benchmarks.subject import Aim, Row, Subject, UnavailableError, best_of, merged, ratio


def subject(variants=None, **given) -> Subject:
    """A subject whose variants are these, or that can't be opened: a reason."""

    @contextmanager
    def opened(_size):
        if isinstance(variants, str):
            raise UnavailableError(variants)
        yield variants or {}

    names = () if isinstance(variants, str) else tuple(variants or ())
    given = {"name": "sums", "title": "Sums", **given}
    return Subject(about="Adds.", opened=opened, variants=names, **given)


def test_each_round_begins_with_the_next_variant():
    assert "".join(runner.order("abc", 4)) == "abc" + "bca" + "cab" + "abc"
    assert list(runner.order([], 2)) == []


def test_samples_of_the_rounds_are_one_row():
    rows = [Row("time", "ours", (2.0,)), Row("time", "rival", (5.0,), role="peer")]
    found = merged([*rows, Row("time", "ours", (4.0,)), Row("size", "ours", (1.0,), "MB")])
    assert [(row.name, row.variant, row.samples) for row in found] == [
        ("time", "ours", (2.0, 4.0)),
        ("time", "rival", (5.0,)),
        ("size", "ours", (1.0,)),
    ]
    assert found[0].median == 3


@pytest.mark.parametrize(("better", "best"), [("lower", "a"), ("higher", "b")])
def test_the_best_is_by_median_and_by_what_is_better(better, best):
    rows = [Row("x", "a", (1.0, 9.0, 1.0), better=better), Row("x", "b", (2.0,), better=better)]
    assert best_of(rows, "x", "ours").variant == best
    assert best_of(rows, "x", "peer") is None


def test_a_variant_that_fails_is_a_row_and_is_not_tried_again():
    """The others go on, and keep what they came to."""
    calls = []

    def broken():
        calls.append("broken")
        raise UnavailableError("rival is not installed")

    variants = {"rival": broken, "ours": lambda: [Row("time", "ours", (1.0,))]}
    found = runner.run(subject(variants), "quick", 3)
    assert calls == ["broken"]
    assert [(row.variant, row.samples, row.problem) for row in found] == [
        ("rival", (), "rival is not installed"),
        ("ours", (1.0, 1.0, 1.0), ""),
    ]


def test_a_subject_that_cannot_run_here_is_a_row():
    (row,) = runner.run(subject("no Slurm here"), "quick", 1)
    assert (row.samples, row.problem) == ((), "no Slurm here")


def test_an_error_that_nobody_expected_is_a_row_and_the_others_are_measured(capsys):
    """After each measurement all there is by then is handed over; the log has the traceback."""
    kept = []

    def crashes():
        raise FileNotFoundError(f"{CHECKOUT}/absent")

    variants = {"a": lambda: [Row("x", "a", (1.0,))], "b": crashes}
    variants["c"] = lambda: [Row("x", "c", (3.0,))]
    rows = runner.run(subject(variants), "quick", 2, lambda rows: kept.append(list(rows)))
    found = {row.variant: row.problem or row.samples for row in rows}
    assert found == {"a": (1.0, 1.0), "b": "FileNotFoundError: ./absent", "c": (3.0, 3.0)}
    assert kept[0] == [Row("x", "a", (1.0,))]
    assert "Traceback" in capsys.readouterr().err


def test_some_variants_alone():
    variants = {name: lambda name=name: [Row("x", name, (1.0,))] for name in "abc"}
    rows = runner.run(subject(variants), "quick", 1, only=["b"])
    assert [row.variant for row in rows] == ["b"]


def test_rounds_end_at_the_subjects_most():
    rows = runner.run(subject({"a": lambda: [Row("x", "a", (1.0,))]}, max_rounds=2), "usual", 5)
    assert rows[0].samples == (1.0, 1.0)


IGNORES_TERM = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"


@pytest.mark.parametrize(
    ("lines", "timeout_s", "said"),
    [
        ("raise SystemExit('boom')", 60.0, "exit status 1: boom"),
        ("import time; time.sleep(60)", 0.1, "not done after"),
        (IGNORES_TERM, 1.0, "not done after"),
    ],
)
def test_a_crash_or_an_endless_subject_is_a_row(tmp_path, monkeypatch, lines, timeout_s, said):
    """Whatever ends its process, with the process' last words."""
    (tmp_path / "benchmarks.py").write_text(lines, encoding="utf-8")
    monkeypatch.setattr(runner, "CHECKOUT", tmp_path)
    monkeypatch.setattr(runner, "END_S", 0.3, raising=False)
    (row,) = runner.run_apart(subject(timeout_s=timeout_s), "quick", 1).rows
    assert said in row.problem


FOUND = Finding(
    "sums",
    [
        Row("time", "bare", (1.0,), role="floor"),
        Row("time", "ours", (2.0, 4.0, 3.0)),
        Row("time", "rival", (6.0, 7.0, 5.0), role="peer"),
        Row("rate", "ours", (10.0,), "1/s", "higher"),
        Row("rate", "rival", (20.0,), "1/s", "higher", "peer"),
        Row("size", "ours", (1.0,), "MB"),
        Row("size", "our other", (2.04,), "MB"),
        Row("size", "rival", (1.02,), "MB", role="peer"),
        Row("", "other", problem="not installed"),
    ],
    12.3,
)


def test_the_verdicts_say_ahead_behind_level_and_why():
    why = {"rate": "Ours checks more.", "our other": "Keeps more."}
    found = page.verdicts_of(subject(why=why), FOUND)
    assert [(each.name, each.word, round(each.factor, 2), each.why) for each in found] == [
        ("time", "ahead", 2.0, ""),
        ("rate", "behind", 0.5, "Ours checks more."),
        ("size", "level", 1.02, "not explained yet"),
        ("size", "behind", 0.5, "Keeps more."),
    ]


def test_the_page():
    """Medians with their range, multiples of ours, verdicts, aims, what was not measured."""
    aims = (
        Aim("ours / rival", ratio("time", "ours", "rival"), 0.4),
        Aim("ours / absent", ratio("time", "ours", "absent"), 1),
    )
    made = subject(aims=aims, why={"ours / rival": "A rival of its own."})
    text = page.render([FOUND], {"sums": made}, {"machine": "two | cores"}, "# Top\n")
    text = text.replace(page.TIMES, "x")
    assert text.startswith("# Top\n")
    for line in (
        "| machine | two \\| cores |",
        "| Sums: time | 3.00 s (ours) | 6.00 s (rival) | ahead 2.00 x |",
        "- *rate (ours), size (ours), size (our other)*: not explained yet",
        "| ours / rival | 0.5 | at most 0.4 | **not met** |",
        "- *ours / rival*: A rival of its own.",
        "|  | time, s | rate, 1/s | size, MB |",
        "| *bare* | 1.00, 0.33 x |  |  |",
        "| **ours** | 3.00 (2.00 to 4.00) | 10.0 | 1.00 |",
        "| rival | 6.00 (5.00 to 7.00), 2.00 x | 20.0, 2.00 x | 1.02, 1.02 x |",
        "Not measured here, other: not installed",
        "`python -m benchmarks --only sums`; rounds: 3; took 12 s.",
    ):
        assert line in text.splitlines()
    assert "absent" not in text


def test_a_variant_that_failed_in_a_later_round_says_so():
    found = Finding("sums", [Row("x", "a", (1.0, 2.0)), Row("", "a", problem="lost")], 1.0)
    text = page.render([found], {"sums": subject()}, {}, "# Top\n")
    assert "Given up after 2 rounds, a: lost" in text.splitlines()


def test_variants_have_names_of_their_own_in_a_subject():
    """A name on the command line is that of one variant of a subject."""
    for each in program.subjects().values():
        assert each.variants
        assert len(set(each.variants)) == len(each.variants)


def test_the_committed_page_is_one_that_the_program_made():
    text = (program.CHECKOUT / program.PAGE).read_text(encoding="utf-8")
    assert text.startswith(program.INTRODUCTION.read_text(encoding="utf-8"))


def test_findings_survive_json():
    assert runner.findings(json.loads(json.dumps(runner.as_json([FOUND])))) == [FOUND]


def test_the_list_names_every_subject_and_command(capsys):
    assert program.main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in program.subjects())
    assert "python benchmarks/gpu.py\n    Measure everything about training on a GPU" in listed


def test_a_part_goes_to_the_terminal_and_a_whole_run_to_the_page(tmp_path, monkeypatch, capsys):
    """With all samples as JSON beside it."""
    paths = {name: tmp_path / "made" / name for name in ("page.md", "found.json")}
    monkeypatch.setattr(program, "PAGE", paths["page.md"])
    monkeypatch.setattr(program, "JSON", paths["found.json"])
    monkeypatch.setattr(program, "subjects", lambda: {"sums": subject()})
    monkeypatch.setattr(runner, "run_apart", lambda *_: FOUND)
    monkeypatch.setattr(program.machine, "describe", lambda *_: {})
    assert program.main(["--only", "sums"]) == 0
    assert "## Sums" in capsys.readouterr().out
    assert not paths["page.md"].exists()
    assert runner.findings(json.loads(paths["found.json"].read_text())["subjects"]) == [FOUND]
    assert program.main([]) == 0
    assert "## Sums" in paths["page.md"].read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "nothing"], "no subject 'nothing': valid: slurm_makespan"),
        (["--only", "dry_runs"], "no subject 'dry_runs': did you mean dry_run?"),
        (["--variants", "our flw"], "no variant 'our flw': did you mean our flow"),
        (["--only", "dry_run", "--variants", "our flow"], "of dry_run: valid: pydantic"),
        (["--rounds", "0"], "'0' is no number of rounds"),
        (["--rounds", "some"], "'some' is no number of rounds"),
    ],
)
def test_what_is_not_known_is_refused_with_the_nearest_name(arguments, said, capsys):
    with pytest.raises(SystemExit) as end:
        program.main(arguments)
    assert end.value.code == 2
    assert said in capsys.readouterr().err


def test_only_subjects_that_have_a_chosen_variant_are_measured(tmp_path, monkeypatch):
    measured = []
    known = {
        name: subject(dict.fromkeys(ours), name=name) for name, ours in (("x", "ab"), ("y", "b"))
    }
    monkeypatch.setattr(program, "subjects", lambda: known)
    monkeypatch.setattr(program.machine, "describe", lambda *_: {})
    monkeypatch.setattr(
        runner,
        "run_apart",
        lambda subject, *given: measured.append((subject.name, given[-1])) or FOUND,
    )
    outputs = ["--json", str(tmp_path / "found.json"), "--page", str(tmp_path / "page.md")]
    assert program.main(["--variants", "a", *outputs]) == 0
    assert program.main(["--variants", "b", *outputs]) == 0
    assert program.main(outputs) == 0
    assert measured == [("x", ["a"]), ("x", ["b"]), ("y", ["b"]), ("x", []), ("y", [])]
