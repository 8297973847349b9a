"""The trainer's configuration: `training/configs/train.yaml`, composed and validated. No torch.

Open `schema.py` for the type of each key, `compose.py` for reading and for checks over several
keys. May use `training.configuration` (Hydra overrides) and `preprocess`.
"""
