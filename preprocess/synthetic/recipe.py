"""The recipe of a synthetic scene: what `"synthetic": {…}` in a scene file says."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from preprocess.faults import Fault, did_you_mean
from preprocess.scene import Scene
from preprocess.synthetic.wardrobe import PEOPLE, Person

CAMERAS = (4, 16, 28, 40, 52, 64, 76, 88)
"""The camera ids of Hi4D."""


def _known(name: str) -> str:
    if name not in PEOPLE:
        raise PydanticCustomError("person", "is not a person of preprocess/synthetic/wardrobe.py")
    return name


SIDES = range(16, 4097)  # pixels
WIDTH_AND_HEIGHT = 2


def _width_and_height(value: Any) -> tuple[int, int]:
    """Return the sides of an image that is given by one number for both, or by a list of two."""
    sides = value if isinstance(value, list) else [value] * WIDTH_AND_HEIGHT
    if len(sides) != WIDTH_AND_HEIGHT or any(type(s) is not int or s not in SIDES for s in sides):
        expected = f"a number of pixels from {SIDES[0]} to {SIDES[-1]} or [width, height]"
        raise PydanticCustomError("image_size", f"should be {expected}")
    return sides[0], sides[1]


class RandomPeople(BaseModel):
    """People drawn at random by a seed, instead of names."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    random: Annotated[int, Field(ge=0)]
    count: Annotated[int, Field(ge=2, le=3)] = 2


Named = Annotated[
    tuple[Annotated[str, AfterValidator(_known)], ...], Field(min_length=2, max_length=3)
]
NAMED, DRAWN = "by name", "at random"  # the two forms of `people`, as in the places of errors


class Recipe(BaseModel):
    """Who does what, and how it is captured: everything that decides a synthetic scene's data."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    action: Literal["wave", "hug", "dance", "talk"]
    people: Annotated[
        Annotated[Named, Tag(NAMED)] | Annotated[RandomPeople, Tag(DRAWN)],
        Discriminator(lambda given: NAMED if isinstance(given, list | tuple) else DRAWN),
    ]
    seed: Annotated[int, Field(ge=0)] = 0
    frames: Annotated[int, Field(ge=1, le=999)] = 12
    image_size: Annotated[tuple[int, int], BeforeValidator(_width_and_height)] = (96, 96)
    cameras: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = CAMERAS
    skip_frames: tuple[int, ...] = ()

    @cached_property
    def cast(self) -> tuple[Person, ...]:
        """The people, as the action knows them: the first, the second, …."""
        if isinstance(self.people, RandomPeople):
            # With numpy, which launchers that only check recipes do without.
            from preprocess.synthetic.random_people import random_people

            return random_people(self.people.random, self.people.count)
        return tuple(PEOPLE[name] for name in self.people)


def recipe_of(scene: Scene) -> Recipe:
    """Return the scene's recipe; raises pydantic.ValidationError."""
    return Recipe.model_validate_json(json.dumps(scene.synthetic))


def recipe_faults(scene: Scene) -> list[Fault]:
    """Return what is wrong with the recipe of a synthetic scene."""
    try:
        recipe = recipe_of(scene)
    except ValidationError as error:
        return [_key_fault(scene, each) for each in error.errors()]
    faults = _number_faults(scene, recipe)
    if scene.cam_id not in recipe.cameras:
        remedy = f"choose one of {', '.join(map(str, recipe.cameras))}"
        faults.append(
            Fault(f"{_file(scene)}: cam_id is not one of its cameras", str(scene.cam_id), remedy)
        )
    if scene.raw_gt_dir_path is not None and not _own_place(scene.raw_gt_dir_path, scene):
        remedy = f'the builder writes below the scene data root: "truth/{scene.seq_name}"'
        what = f"{_file(scene)}: raw_gt_dir_path of a synthetic scene"
        faults.append(Fault(what, scene.raw_gt_dir_path, remedy))
    return faults


def _file(scene: Scene) -> object:
    return scene.file or scene.seq_name


def _number_faults(scene: Scene, recipe: Recipe) -> list[Fault]:
    faults = []
    if len(set(recipe.cameras)) < len(recipe.cameras):
        shown = ", ".join(map(str, recipe.cameras))
        faults.append(Fault(f"{_file(scene)}: synthetic.cameras names a camera twice", shown))
    for frame in recipe.skip_frames:
        if not 1 <= frame <= recipe.frames:
            what = f"{_file(scene)}: synthetic.skip_frames names a frame that is not there"
            faults.append(Fault(what, str(frame), f"frames are 1 to {recipe.frames}"))
    return faults


def _own_place(path: str, scene: Scene) -> bool:
    """Return whether a path stays below the scene data root and outside the training folder."""
    parts = PurePosixPath(path).parts
    outside = path.startswith(("/", "~")) or ".." in parts
    return bool(parts) and not outside and parts[0] != scene.seq_name


def _key_fault(scene: Scene, error: ErrorDetails) -> Fault:
    key = ".".join(str(part) for part in error["loc"] if part not in (NAMED, DRAWN))
    remedies = {
        "extra_forbidden": did_you_mean(key, Recipe.model_fields),
        "person": did_you_mean(str(error["input"]), PEOPLE),
        "missing": 'e.g. {"action": "wave", "people": ["ada", "ben"]}',
    }
    what = f"{_file(scene)}: synthetic.{key}: {error['msg']}"
    return Fault(what, json.dumps(error["input"])[:80], remedies.get(error["type"], ""))
