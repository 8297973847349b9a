"""Write files that are whole or absent: under another name first, then renamed.

The one implementation for launcher, flow and trainer.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from training.system.claim_file import check_own_claim

PRIVATE = 0o600
Content = str | bytes | Iterable[bytes]
"""What is written to a file; as parts where nobody needs the whole."""


def write_atomically(
    path: Path,
    content: Content,
    *,
    sole_writer: bool = False,
    keep_as: Path | None = None,
    private: bool = False,
) -> None:
    """Replace `path` by `content` so that a reader on any host sees the old or the new, never half.

    Parent folders are created. With `sole_writer`, which promises that no other process writes
    `path` meanwhile, the temporary file has a fixed name: a writer of large files that is killed
    again and again leaves one of them at most. What is replaced stays as `keep_as` in the same
    folder, if that is given: there is no moment without `path`. With `private` only its owner can
    read the file.

    Raises OSError (disk full, no permission; in a trainer ClaimLostError where another run has the
    scene by now); the old file is then untouched.
    """
    check_own_claim()
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = "partial" if sole_writer else uuid.uuid4().hex[:8]
    temporary = path.with_name(f".{path.name}.{suffix}")
    try:
        write_durably(temporary, content, private=private)
        check_own_claim()  # the disk may have taken its time
        if keep_as is not None and path.exists():
            keep_as.unlink(missing_ok=True)
            keep_as.hardlink_to(path)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json_atomically(path: Path, content: Any) -> None:
    """Write indented JSON as `write_atomically` does.

    Raises OSError, and ValueError for nan and infinity, which JSON lacks.
    """
    write_atomically(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_durably(path: Path, content: Content, *, private: bool = False) -> None:
    """Write a file and wait until the disk has it; raises OSError, `path` may then be half."""
    whole = content.encode() if isinstance(content, str) else content
    with path.open("wb") as stream:
        if private:
            os.fchmod(stream.fileno(), PRIVATE)  # while it is empty
        stream.writelines([whole] if isinstance(whole, bytes) else whole)
        stream.flush()
        os.fsync(stream.fileno())
