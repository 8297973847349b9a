"""Thousands of short scenes under seeded faults: `python -m tests.faults.soak --help`.

`run.py` runs them and starts the same command again until all are done; `injector.py` does faults
meanwhile; `trainer.py` is what is trained, with a log of its own; `verdict.py` says from that log,
the records and the processes whether anything was lost, doubled or left.
"""
