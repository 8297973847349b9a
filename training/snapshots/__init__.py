"""Snapshots: the sources of a plan's trainer, kept by content; its attempts run from them.

`sources.py` finds and reads them, `manifest.py` says what they are, `keep.py` writes, repairs and
removes the copies below `<state>/snapshots/`, `start.py` turns a planned command into one that runs
from the copy. Knows no plan; uses `training.system`, and `faults` and `roots` of `preprocess`. Open
`start.py` first.
"""
