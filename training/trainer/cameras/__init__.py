"""Cameras: which are used for what, where virtual ones stand, and what they see.

Open `strategies.py` to add a way to place virtual cameras, `camera_ids.py` for the choice of
source, novel and held-out cameras (no torch), `view.py` for what a view is, `views.py` for reading
them ahead and keeping some in memory. Of the trainer it may use `config` only.
"""
