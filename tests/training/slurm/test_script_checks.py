"""What Slurm takes without a word and people did not mean: refused, or named with its line."""

from __future__ import annotations

import pytest
from script_shapes import REFUSED, RUNS, UNWARNED, WARNED, bash

from preprocess.faults import FaultsError
from training.slurm.script_checks import read_script


@pytest.fixture
def read(tmp_path):
    """Return a function that reads a script of this text."""

    def read_text(text):
        path = tmp_path / "site.slurm"
        path.write_bytes(text.encode())
        return read_script(path)

    return read_text


@pytest.mark.parametrize("shape", REFUSED, ids=lambda each: each.name)
def test_a_script_that_cannot_do_what_it_says_is_refused_with_its_line(read, tmp_path, shape):
    """One fault: file, line, what is wrong there, and what to write instead."""
    with pytest.raises(FaultsError) as caught:
        read(shape.text)
    (fault,) = caught.value.faults
    assert fault.value.startswith(f"{tmp_path / 'site.slurm'}:{shape.line}: ")
    assert shape.words in fault.value
    assert shape.remedy in fault.remedy


@pytest.mark.parametrize("name", WARNED)
def test_what_is_probably_not_meant_is_named_with_its_line(read, tmp_path, name):
    """The script is not refused: it can run."""
    text, line, words = WARNED[name]
    (warning,) = read(text).warnings
    assert warning.startswith(f"{tmp_path / 'site.slurm'}:{line}: ")
    assert words in warning


@pytest.mark.parametrize("text", UNWARNED)
def test_what_is_meant_has_no_warning(read, text):
    """What was left out on purpose, and what our own options replace."""
    assert not read(text).warnings


@pytest.mark.parametrize("name", RUNS)
def test_what_runs_is_not_refused(read, name):
    """The shapes that tests/slurm runs on a real Slurm."""
    assert read(RUNS[name].format(folder="/x")).directives


@pytest.mark.parametrize("line", ["read -r x <<< word", "y=$((1 << word))", "# cat << word"])
def test_what_only_looks_like_a_here_document_hides_nothing(read, line):
    """The lines below it are the script's."""
    text = bash(line, 'python training/run.py "$*"')
    with pytest.raises(FaultsError, match="makes one argument of all"):
        read(text)


def test_all_that_is_wrong_comes_at_once(read):
    """A directive too late, an array, and missing arguments: three faults in the order of lines."""
    text = bash("#SBATCH --array=1", "date", "#SBATCH --mem=1G", "python training/run.py")
    with pytest.raises(FaultsError) as caught:
        read(text)
    lines = [fault.value.partition("site.slurm:")[2].split(":")[0] for fault in caught.value.faults]
    assert lines == ["3", "5", "6"]
