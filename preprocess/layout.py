"""Where each file of a scene's data lies: one folder a scene, frame numbers aligned over all kinds.

Paths only; nothing heavy is imported, so that the launcher can use it too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

EVERYONE = "all"
"""The mask that covers all people of a frame."""


@dataclass(frozen=True)
class SceneFolder:
    """Paths inside one scene's data folder; frames are six-digit numbers, cameras are integers."""

    root: Path

    def image(self, camera: int, frame: int) -> Path:
        """Return the path of the RGB image, an 8-bit JPEG; readers accept a PNG in its place."""
        return self.root / f"images/{camera}/{frame:06d}.jpg"

    def camera(self, camera: int, frame: int) -> Path:
        """Return the path of the camera.

        `intrinsics` (1,3,3) in pixels and `extrinsics` (1,3,4) world-to-camera, OpenCV axes.
        """
        return self.root / f"all_cameras/{camera}/{frame:06d}.npz"

    @property
    def shared_cameras(self) -> Path:
        """The file of all cameras at all frames, read where there is no folder `all_cameras`.

        As in Hi4D: `ids` (C,), `intrinsics` (C,3,3), `extrinsics` (C,3,4).
        """
        return self.root / "cameras/rgb_cameras.npz"

    @property
    def meta(self) -> Path:
        """The file about the whole scene (optional), as in Hi4D: `genders` (P,)."""
        return self.root / "meta.npz"

    def mask(self, camera: int, person: int | str, frame: int) -> Path:
        """Return the path of the 8-bit mask, 0 or 255, of one person (0, 1, …) or of `EVERYONE`."""
        return self.root / f"seg/img_seg_mask/{camera}/{person}/{frame:06d}.png"

    def smplx(self, frame: int) -> Path:
        """Return the path of everyone's body parameters in SMPL-X layout: axis-angle, metres."""
        return self.root / f"smplx/{frame:06d}.npz"

    def smpl(self, frame: int) -> Path:
        """Return the path of everyone's body parameters in SMPL layout (optional)."""
        return self.root / f"smpl/{frame:06d}.npz"

    def depth(self, camera: int, frame: int) -> Path:
        """Return the path of the depth.

        float32 (H,W) along the camera's z axis, metres; 0 where unknown.
        """
        return self.root / f"depths/{camera}/{frame:06d}.npy"

    def mesh(self, frame: int) -> Path:
        """Return the path of the true meshes (optional)."""
        return self.root / "meshes" / f"{frame:06d}.obj"

    def cameras(self) -> list[int]:
        """Return the ids of the cameras that have images, ascending."""
        folder = self.root / "images"
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return sorted(int(name) for name in names if name.isdigit())

    def frames(self, camera: int) -> list[int]:
        """Return the frame numbers that `camera` has images of, ascending, skip frames included."""
        folder = self.root / "images" / str(camera)
        stems = [path.stem for path in folder.iterdir()] if folder.is_dir() else []
        return sorted({int(stem) for stem in stems if stem.isdigit()})

    def skip_frames(self) -> frozenset[int]:
        """Return the frames that `skip_frames.csv` (one comma-separated line, optional) leaves out.

        Raises ValueError naming the file when an entry is not a number, or it is no text.
        """
        path = self.root / "skip_frames.csv"
        if not path.is_file():
            return frozenset()
        try:
            entries = path.read_text(encoding="utf-8").replace("\n", ",").split(",")
            return frozenset(int(entry) for entry in entries if entry.strip())
        except ValueError as error:
            raise ValueError(f"{path}: {error}; expected frame numbers, comma-separated") from error
