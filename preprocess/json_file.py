"""Read JSON files that anybody may have written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_json(file: Path) -> Any:
    """Return the content of a JSON file; raises OSError, and ValueError for anything else.

    Also for what is nested too deep, which Python's own reader does not count as a ValueError.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deep") from error
