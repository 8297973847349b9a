"""One scene: the content of `preprocess/scenes/<name>.json`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, StrictInt, StrictStr
from pydantic_core import PydanticCustomError

FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")
# Hydra would hand `shared.scene_name=12_11` to the trainer as the number 1211.
_NOT_TEXT_TO_HYDRA = re.compile(r"[0-9_.]+(e-?[0-9_]+)?|true|false|null|nan|inf", re.IGNORECASE)
Gender = Literal["neutral", "female", "male"]


def _usable_name(name: str) -> str:
    if not FOLDER_NAME.fullmatch(name):
        raise PydanticCustomError("seq_name", "can't be the name of a folder")
    if _NOT_TEXT_TO_HYDRA.fullmatch(name):
        raise PydanticCustomError("seq_name", "would be read as a number or a constant by Hydra")
    return name


class Scene(BaseModel):
    """A multi-human scene; keys that are not declared here are kept as they are.

    Paths that are not absolute start at the scene data root. `cam_id` is the source camera.
    `genders` has one word a person, and chooses among the body model's files.
    `synthetic` is the recipe of a scene that the builder makes (preprocess/synthetic/).
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    seq_name: Annotated[StrictStr, AfterValidator(_usable_name)]
    cam_id: Annotated[StrictInt, Field(ge=0)]
    raw_gt_dir_path: StrictStr | None = None
    video_path: StrictStr | None = None
    ref_frame_idx: Annotated[StrictInt, Field(ge=0)] | None = None
    genders: list[Gender] | None = None
    synthetic: dict[str, Any] | None = None

    _file: Path | None = PrivateAttr(default=None)

    @classmethod
    def of(cls, content: object, file: Path) -> Scene:
        """Validate the content of `file`; raises pydantic.ValidationError."""
        scene = cls.model_validate(content)
        scene._file = file  # noqa: SLF001 - it is this class's own
        return scene

    @property
    def file(self) -> Path | None:
        """The file that the scene was read from."""
        return self._file

    @property
    def raw(self) -> dict[str, Any]:
        """The scene's JSON as it was written, without defaults."""
        return self.model_dump(exclude_unset=True)
