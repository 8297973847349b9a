"""Scenes: their files, the layout of their data on disk, and the builder of synthetic ones.

Open `scene.py` first (what a scene's JSON says), then `layout.py` (where its data lies) and
`scene_data.py` (reading it). `registry.py` reads a folder of scenes, `roots.py` finds the root
folders, `faults.py` is how everything says what the user has to repair. `body/` is the parametric
body, `synthetic/` builds scenes. Uses nothing of `training`, `flows` or `deployments`; numpy, torch
and Pillow are imported only where data is read or built.
"""
