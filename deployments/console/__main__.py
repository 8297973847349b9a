"""The console command where it is not installed: `python -m deployments.console`."""

from __future__ import annotations

import sys

from deployments.console.command import main

if __name__ == "__main__":
    sys.exit(main(program="python -m deployments.console"))
