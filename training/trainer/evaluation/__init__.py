"""How good a model is, and what a run reports about it.

Open `evaluate.py` first; `metrics.py` has the measures, `pictures.py` the comparison picture,
`run_reports.py` what is written and logged when, `experiment_loggers.py` the progress line,
TensorBoard and Weights & Biases. Of the trainer it may use `gaussians`, `cameras`, `config`
and `output_files`.
"""
