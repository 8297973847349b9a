"""Look at a scene in 3D in the browser: people, cameras and images, before and after training.

Open `command.py` first; `viewed_scene.py` loads what is shown, `page.py` shows it with viser, which
nothing else here imports. It may use everything of `training`, and nothing may use it.
"""
