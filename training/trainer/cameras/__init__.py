"""Cameras: which are used for what, where virtual ones stand, and what they see.

Open `strategies.py` to add a way to place virtual cameras, `camera_ids.py` for the choice of
source, novel and held-out cameras (no torch), `views.py` for reading images. Of the trainer it
may use `config` only.
"""
