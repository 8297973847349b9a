"""Reading a log that grows, without a process that writes it."""

from __future__ import annotations

from training.cli import follow_log


def test_a_line_without_an_end_is_shown_in_pieces(tmp_path):
    """Longer than what is read at once, cut in the middle of a letter; what follows comes too."""
    log = tmp_path / "train.log"
    text = "x" + "ä" * follow_log.CHUNK
    log.write_text(text, encoding="utf-8")
    reader = follow_log._LogReader(log)
    shown = "".join(reader.new_text())
    assert len(shown) >= follow_log.CHUNK // 2
    with log.open("a", encoding="utf-8") as stream:
        stream.write("\nlast words")
    shown += "".join(reader.new_text(with_unfinished_line=True))
    assert shown == f"{text}\nlast words"
