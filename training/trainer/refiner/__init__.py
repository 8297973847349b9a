"""Image refiners: networks that repair the render of a novel view, and the training of a small one.

`refiner.py` says what a refiner is and loads one; open it first. Three kinds fit: the small network
of this project (`network.py`), trained by `run_mode=refiner_train` (`train.py`, with `pairs.py` and
`assess.py`) on DiFix data; DiFix as a diffusers model (`difix.py`); DiFix tuned by its public
script (`difix_checkpoint.py`). `weights.py` says what `difix.model_id` names, `tuned_on.py` on
whom a refiner was tuned; these two import no torch.
"""
