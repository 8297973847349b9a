"""Room that is kept for the record, and given up; a full disk has its test in tests/faults."""

from __future__ import annotations

from training.records.spare_room import SIZE, SPARE, give_room, keep_room


def test_room_is_kept_and_given_up(tmp_path):
    """More than once, and where the folder is gone by then."""
    keep_room(tmp_path)
    assert (tmp_path / SPARE).stat().st_size == SIZE
    assert [give_room(tmp_path), give_room(tmp_path)] == ["", ""]
    assert list(tmp_path.iterdir()) == []
    keep_room(tmp_path / "gone")
    assert not give_room(tmp_path / "gone")
