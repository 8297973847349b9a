"""The builder of synthetic scenes: clothed, moving people in front of a ring of cameras.

Open `build.py` first (what is built when, and the command), then `studio.py`, which puts everything
together: `recipe.py` (what a scene file asks for), `motion.py`, `wardrobe.py` and `clothing.py`,
`camera_ring.py`, `people_renderer.py` over `mesh_renderer.py`, `estimates.py` (the noise of the
training data) and `scene_writer.py`. May use `preprocess.body` and the modules of `preprocess`.
"""
