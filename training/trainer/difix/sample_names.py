"""The names of samples in the refiner's training set."""

from __future__ import annotations


def sample_id(scene: str, target_camera: int, ref_camera: int, frame: int) -> str:
    """Return the id of a sample, whose reference image shows the same frame.

    The scene's name can be read back from it, so samples of two scenes never share an id.
    """
    cameras = f"tcam{target_camera}__rcam{ref_camera}"
    return f"{scene}__{cameras}__tf{frame:06d}__rf{frame:06d}"


def as_named_today(given: str) -> str:
    """Return a sample id as `sample_id` forms it; version 0.1.0 wrote rccam for rcam."""
    return given.replace("__rccam", "__rcam")
