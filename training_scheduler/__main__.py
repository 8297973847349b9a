"""The console command where it is not installed: `python -m training_scheduler`."""

from __future__ import annotations

import sys

from training_scheduler.command import main

if __name__ == "__main__":
    sys.exit(main(program="python -m training_scheduler"))
