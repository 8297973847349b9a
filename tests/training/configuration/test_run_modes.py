"""The one table of run modes agrees with the trainer's script."""

from __future__ import annotations

from typing import get_args

from training import simple_multi_human_trainer
from training.configuration.run_modes import RUN_MODES, RunModeName, mode_generating_for


def test_every_name_has_one_row():
    """The schema's names and the table's are the same."""
    assert tuple(RUN_MODES) == get_args(RunModeName)


def test_every_row_names_a_function_of_the_trainers_script():
    """And the script runs no other: its digest leaves those of other modes out."""
    functions = {mode.function for mode in RUN_MODES.values()}
    assert functions == set(simple_multi_human_trainer.FUNCTIONS)


def test_a_mode_that_merges_is_found_from_what_it_merges():
    """`mode_generating_for` is the other direction of `aggregated_by`."""
    generate = RUN_MODES["difix_data_generation_generate"]
    assert mode_generating_for("difix_data_generation_aggregate") == generate
    assert mode_generating_for("train") is None
