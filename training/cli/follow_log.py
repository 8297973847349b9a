"""`--logs`: print a scene's log from its beginning, and follow it until its attempt ends."""

from __future__ import annotations

import codecs
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from preprocess.faults import Fault, FaultsError
from training.plan.experiments import Experiment
from training.plan.model import LOG
from training.records.record import RecordError, read_record
from training.records.scene_state import is_running, living_holder
from training.system.presence import check_no_dangling_link
from training.system.scene_log import PROGRESS, parse_progress, progress_text
from training.system.typed_command import spelled

POLL_S = 0.5
CHUNK = 2**20


def follow(experiment: Experiment, scene: str) -> None:
    """Print a scene's log until its attempt has ended, or the reader of our output has gone.

    Raises FaultsError when there is no log yet, or a record that can't be read, OSError for a log
    that can't be.
    """
    output = experiment.output(scene)
    try:
        if not _can_be_read(output / LOG) and not attempt_goes_on(output):
            remedy = f"see {spelled('status')} --exp-name {experiment.name}"
            raise FaultsError([Fault("the scene has not started: it has no log", scene, remedy)])
        for text in follow_lines(output):
            sys.stdout.write(text)
            sys.stdout.flush()
    except RecordError as error:
        raise FaultsError([Fault(str(error))]) from error
    except BrokenPipeError:  # `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _can_be_read(log: Path) -> bool:
    """Return whether there is a log; raises OSError for one that can't be read."""
    try:
        log.open("rb").close()
    except FileNotFoundError:
        check_no_dangling_link(log)
        return False
    return True


def last_written(output: Path) -> float:
    """Return when a scene's log was last written to, in seconds since 1970; 0 without a log."""
    try:
        return (output / LOG).stat().st_mtime
    except OSError:
        return 0.0


def attempt_goes_on(output: Path) -> bool:
    """Return whether an attempt of the scene runs; raises RecordError when its files don't say."""
    record = read_record(output)
    return is_running(record, living_holder(output, record))


def follow_lines(output: Path) -> Iterator[str]:
    """Yield a log's lines for people, in pieces, until no attempt of the scene runs.

    Raises RecordError.
    """
    reader = _LogReader(output / LOG)
    while attempt_goes_on(output):
        yield from reader.new_text()
        time.sleep(POLL_S)
    yield from reader.new_text(with_unfinished_line=True)


def _for_people(line: str) -> str:
    """Return a line as it is; of a progress line `epoch 3/30, loss 0.0123`, or nothing."""
    if not line.startswith(PROGRESS):
        return line
    text = progress_text(parse_progress(line) or {})
    return f"{text}\n" if text else ""


class _LogReader:
    """Reads a log from where it stopped; one that was replaced, from its beginning."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._inode = 0
        self._offset = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def new_text(self, *, with_unfinished_line: bool = False) -> Iterator[str]:
        """Yield what is new in pieces of whole lines, machine-readable ones as words."""
        while piece := self._piece(with_unfinished_line):
            self._offset += len(piece)
            lines = self._decoder.decode(piece).splitlines(keepends=True)
            yield "".join(map(_for_people, lines))

    def _piece(self, with_unfinished_line: bool) -> bytes:
        try:
            with self._log.open("rb") as stream:
                inode = os.fstat(stream.fileno()).st_ino
                if inode != self._inode:
                    self._inode, self._offset = inode, 0
                stream.seek(self._offset)
                read = stream.read(CHUNK)
        except OSError:
            return b""
        lines, line_end, _ = read.rpartition(b"\n")
        is_long = len(read) == CHUNK  # a line without an end is shown in pieces
        return lines + line_end or (read if with_unfinished_line or is_long else b"")
