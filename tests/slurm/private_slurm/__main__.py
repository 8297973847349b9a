"""`python -m private_slurm up|down [--accounting] [--folder FOLDER]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from private_slurm import default_folder, down, missing, up
from private_slurm.daemons import SetupError


def main() -> int:
    """Prints the one line that makes a shell use the cluster; 2 if there can be none here."""
    options = parse()
    if options.what == "down":
        was = down(options.folder)
        print(
            "the private Slurm is down; where you used it: unset SLURM_CONF"
            if was
            else "no private Slurm was up"
        )
        return 0
    if lacks := missing(accounting=options.accounting):
        print(lacks, file=sys.stderr)
        return 2
    try:
        cluster = up(options.folder, accounting=options.accounting)
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"export SLURM_CONF={cluster.layout.conf}")
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="private_slurm", description="A private Slurm.")
    parser.add_argument("what", choices=["up", "down"])
    parser.add_argument("--accounting", action="store_true", help="with slurmdbd and MariaDB")
    parser.add_argument("--folder", type=lambda text: Path(text).resolve(), help="where it lives")
    options = parser.parse_args()
    options.folder = options.folder or default_folder()
    return options


if __name__ == "__main__":
    sys.exit(main())
