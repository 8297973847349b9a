"""An experiment's report, from run records alone: Markdown, HTML, CSV, plots, a terminal's table.

`summary.py` is what launcher and flow call; open it first. `scene_rows.py` reads the records,
`metrics.py` lists the columns of numbers, `experiment_report.py` and `comparison.py` compose a
document of `blocks.py`, which `markdown.py` and `html.py` write down. May use `training.plan` and
what lies below it; matplotlib and Pillow are imported where they draw.
"""
