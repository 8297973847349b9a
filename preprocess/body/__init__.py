"""The parametric body: an SMPL-X model file, or the bundled one, and its linear blend skinning.

Open `body_model.py` first; `joints.py` names the joints, `export.py` made the bundled file once.
May use `preprocess.scene_data` for the parameters on disk.
"""
