"""Scenes: their files, the layout of their data on disk, and the builder of synthetic ones.

Open `scene.py` first (what a scene's JSON says), then `layout.py` (where its data lies) and
`scene_data.py` (reading it). `registry.py` reads a folder of scenes, `roots.py` finds the root
folders, `faults.py` is how everything says what the user has to repair. A scene's data is checked
from outside in: `data_checks.py` (folders), `header_checks.py`, `content_checks.py` (values, some
frames), `geometry_checks.py` (what belongs together); `scene_picture.py` draws it. `import_hi4d.py`
makes scenes of Hi4D. `body/` is the parametric body, `synthetic/` builds scenes. Uses nothing of
`training`, `flows` or `deployments`; numpy, torch and Pillow are imported only where data is read
or built.
"""
