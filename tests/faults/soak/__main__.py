"""Soak the Slurm flow and the array: 2,000 scenes of a second each, a fault every few seconds.

Prints the figures as JSON; exit status 1 where a promise was not kept.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from tests.faults.soak.run import Size, on_private_slurm, soak

WAYS = ("flow", "array")


def parsed(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the arguments."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--scenes", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a scene (default 1)")
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--every", type=float, default=3.0, help="mean seconds between two faults")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--most-runs", type=int, default=20, help="of the same command")
    parser.add_argument("--folder", type=Path, help="keep what was made in a new folder here")
    return parser.parse_args(argv)


def main() -> int:
    """Soak each way; return 1 where a promise was not kept."""
    given = parsed()
    size = Size(
        given.scenes, given.seconds, given.at_once, given.every, given.seed, given.most_runs
    )
    found = []
    for way in given.ways:
        root = Path(tempfile.mkdtemp(prefix=f"soak_{way}_", dir=given.folder))
        with on_private_slurm(root) as (lab, cluster):
            found.append(soak(way, lab, cluster, size))
        print(json.dumps(found[-1], indent=1), flush=True)
        if given.folder is None:
            shutil.rmtree(root)
    return 1 if any(each["complaints"] for each in found) else 0


if __name__ == "__main__":
    sys.exit(main())
