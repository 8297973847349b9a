"""What a launch or flow shows on the terminal: lines, a live part that is redrawn, plans as text.

`terminal.py` chooses between plain lines (`lines.py`) and a live display (`live.py`, laid out by
`live_layout.py`). May use `plan`, `records`, `slurm` and `system`. rich is imported only where
a live display is shown; its internals only in `rich_adapter.py`. Open `lines.py` first.
"""
