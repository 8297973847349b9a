"""A wait says what is awaited, unless it is over at once."""

from __future__ import annotations

from training.system.waiting import awaited


def test_only_what_takes_longer_is_said(capfd, eventually):
    """On standard error, so that what a command prints can be read by others."""
    said = []
    with awaited("Slurm takes the jobs", after_s=0.0):
        eventually(lambda: said.append(capfd.readouterr().err) or any(said), "the line")
    assert "".join(said) == "waiting: Slurm takes the jobs\n"
    with awaited("a moment", after_s=3600.0):
        pass
    assert capfd.readouterr().err == ""
