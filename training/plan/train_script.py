"""The script that trains: its configuration, its commands, and what decides its results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preprocess.faults import Fault, FaultsError, why_unreadable
from preprocess.roots import CHECKOUT, absolute, expanded, shipped, start_folder, under_checkout
from preprocess.scene import Scene
from training.configuration import overrides
from training.configuration.code_version import (
    checkout_content,
    own_code_digest,
    script_digest,
)
from training.configuration.configuration_file import OWN_TRAINER, SCRIPT
from training.configuration.fingerprint import files_named, with_contents, without_ignored
from training.configuration.interpolations import resolve, resolve_what_is_known, variables_named
from training.configuration.job_variables import given_variables, without_secrets
from training.configuration.launch_arguments import assigned, assignment, key_of
from training.configuration.reserved_keys import reserved_by_effect, reserved_by_name
from training.configuration.run_modes import (
    EVALUATE,
    GENERATE,
    INPUT_FILE_KEYS,
    REFINER_TRAIN,
    RUN_MODES,
    TRAIN,
    WARM_UP,
    RunMode,
    mode_generating_for,
)
from training.plan import checks
from training.plan.options import LaunchOptions
from training.plan.sweep import Setting
from training.records.record import CodeVersion
from training.system.paths import Roots

if TYPE_CHECKING:
    from training.trainer.config.schema import Config

OWN_SCRIPT = CHECKOUT / "training" / OWN_TRAINER
OWN_CONFIG = CHECKOUT / "training" / "configs" / "train.yaml"
MODE_KEY = "run_mode"
REFINER_KEY, REFINER_SWITCH = "difix.model_id", "difix.trn_enable"
CHECKPOINT_KEY = "difix_data_generation.require_checkpoint"
ANY_SCENE = "__any_scene__"
"""Stands for a scene's name where a configuration is resolved once for all scenes."""


@dataclass(frozen=True)
class TrainScript:
    """The script that trains, composed and checked once for all scenes of a launch."""

    path: Path
    overrides: tuple[str, ...]
    expected_outputs: tuple[str, ...]
    mode: RunMode | None = None
    """Of the project's own trainer; None for another script, whose data is its own affair."""
    content: dict[str, Any] = field(default_factory=dict)
    """The composed configuration with the launcher's values in it, `ANY_SCENE` for the scene's."""
    values: dict[str, Any] = field(default_factory=dict)
    """Its values by dotted key, resolved; of a script without a configuration the overrides."""
    output_roots: tuple[Path, ...] = ()
    """Folders whose files are no input of the script, though its configuration may name them."""
    schema: Config | None = None
    """The checked configuration; None where nothing is overridden, and for another script."""
    faults: tuple[Fault, ...] = ()
    """What is wrong; the rest is of what is right, so that later checks can add their faults."""
    warnings: tuple[str, ...] = ()
    """What is right but worth a look in the overrides."""

    @property
    def is_own(self) -> bool:
        """Whether it is the project's own trainer."""
        return self.mode is not None

    @property
    def is_for_refiner(self) -> bool:
        """Whether it makes the refiner's training set, for which scenes are split into groups."""
        return self.mode is GENERATE

    @property
    def needs_checkpoint(self) -> bool:
        """Whether it refuses a scene that was not trained."""
        settings = self.schema.difix_data_generation if self.schema else None
        return self.is_for_refiner and bool(settings and settings.require_checkpoint)

    def without_checkpoint(self) -> TrainScript:
        """Return the script that takes scenes as they are before training, and does not refuse."""
        overrides = (*self.overrides, f"{CHECKPOINT_KEY}=false")
        return replace(self, overrides=overrides)

    @property
    def is_evaluation(self) -> bool:
        """Whether it evaluates what was trained before."""
        return self.mode is EVALUATE

    @property
    def output_subdir(self) -> str:
        """Folder inside a scene's that it writes to."""
        return self.mode.output_subdir if self.mode else ""

    def command(self, scene: str, exp_name: str) -> tuple[str, ...]:
        """Return what the interpreter is given to train one scene."""
        experiment = assignment(overrides.EXPERIMENT_KEY, exp_name)
        if self.mode is REFINER_TRAIN:  # it is about all scenes
            return (str(self.path), experiment, *self.overrides)
        scene_name = assignment(overrides.SCENE_KEY, scene)
        return (str(self.path), scene_name, experiment, *self.overrides)

    def aggregate_command(self, exp_name: str) -> tuple[str, ...]:
        """Return what it is given to merge the outputs of all scenes; empty without a merge."""
        given = assigned(self.overrides, MODE_KEY)
        named = self.values.get(MODE_KEY) if self.content else given
        mode = self.mode or RUN_MODES.get(str(named))
        if mode is None or mode.aggregated_by is None:
            return ()
        others = (text for text in self.overrides if key_of(text) != MODE_KEY)
        experiment = assignment(overrides.EXPERIMENT_KEY, exp_name)
        return (str(self.path), f"{MODE_KEY}={mode.aggregated_by}", experiment, *others)

    @property
    def refiner_folder(self) -> Path | None:
        """The folder of the refiner that novel views are refined with, existing or not.

        None where none are refined, and for a file. A model id is taken for a folder too.
        """
        name = self.values.get(REFINER_KEY)
        if self.mode is not TRAIN or not self.values.get(REFINER_SWITCH):
            return None
        folder = start_folder() / expanded(name) if isinstance(name, str) else None
        return None if folder is None or folder.is_file() else folder

    def deciding_values(self, scene: Scene) -> dict[str, Any]:
        """Return what of the configuration decides a scene's result, files by their content.

        Raises FaultsError for a file that can't be read.
        """
        return self._deciding_for_all if self._is_same_for_all else self._deciding(scene)

    def input_files(self, scene: Scene) -> dict[str, Path]:
        """Return by key the files that the configuration of a scene names, existing or not."""
        return self._files_for_all if self._is_same_for_all else self._files(self._values_of(scene))

    @cached_property
    def environment(self) -> dict[str, str]:
        """Variables that the configuration reads: a job has to read what was resolved here."""
        texts = self._flat_content.values()
        return given_variables(name for text in texts for name in variables_named(text))

    def without_secrets(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return values by dotted key as they may be written into a file."""
        if self._is_same_for_all and values is self._deciding_for_all:
            return self._written_for_all
        return without_secrets(values, self._flat_content)

    def code_version(self, recorded: CodeVersion | None = None) -> CodeVersion:
        """Return the version of the code that it runs, without a commit.

        Quickly where it is the recorded one, unchanged to the byte. Raises FaultsError when a
        source can't be read.
        """
        if recorded and recorded.content and recorded.content == self._code_content:
            return CodeVersion(digest=recorded.digest, content=recorded.content)
        return self._code_version

    @cached_property
    def _code_version(self) -> CodeVersion:
        others = [mode.function for mode in RUN_MODES.values() if mode != self.mode]
        others.append(WARM_UP)
        with _unreadable_code_as_fault():
            if self.mode is None:
                return CodeVersion(digest=script_digest(self.path))
            digest = own_code_digest(self.path, others)
        return CodeVersion(digest=digest, content=self._code_content)

    @cached_property
    def _code_content(self) -> str:
        """Hash of all sources of the checkout; empty for another script, which is one file."""
        with _unreadable_code_as_fault():
            return checkout_content() if self.mode else ""

    @property
    def _input_keys(self) -> tuple[str, ...]:
        return INPUT_FILE_KEYS if self.mode else ()

    @cached_property
    def _is_same_for_all(self) -> bool:
        decides = without_ignored(self.values)
        return ANY_SCENE not in json.dumps(decides, default=str)

    @cached_property
    def _deciding_for_all(self) -> dict[str, Any]:
        return self._decide(self.values)

    @cached_property
    def _written_for_all(self) -> dict[str, Any]:
        return without_secrets(self._deciding_for_all, self._flat_content)

    @cached_property
    def _files_for_all(self) -> dict[str, Path]:
        return self._files(self.values)

    @cached_property
    def _flat_content(self) -> dict[str, Any]:
        return overrides.flat(self.content)

    def _deciding(self, scene: Scene) -> dict[str, Any]:
        return self._decide(self._values_of(scene))

    def _decide(self, values: dict[str, Any]) -> dict[str, Any]:
        ignored = self.mode.ignored_keys if self.mode else ()
        kept = without_ignored(values, ignored)
        files = {key: path for key, path in self._files(values).items() if key in kept}
        return with_contents({SCRIPT: self.path.name, **kept}, files)

    def _values_of(self, scene: Scene) -> dict[str, Any]:
        if self._is_same_for_all:
            return self.values
        content = _with_scene(self.content, scene.seq_name, str(scene.file))
        return overrides.flat(resolve(content)) if self.mode else resolve_what_is_known(content)

    def _files(self, values: dict[str, Any]) -> dict[str, Path]:
        if self.mode is None:
            return files_named(values, self.output_roots)
        named = {key: values.get(key) for key in self._input_keys}
        files = {key: under_checkout(name) for key, name in named.items() if isinstance(name, str)}
        return files | _refiner_file(values)


def _refiner_file(values: dict[str, Any]) -> dict[str, Path]:
    """Return the weights of the image refiner, where what is used is a file here.

    Those in a folder count when they are used: an earlier stage may be about to write them.
    """
    name = values.get(REFINER_KEY)
    if not values.get(REFINER_SWITCH) or not isinstance(name, str):
        return {}
    path = start_folder() / expanded(name)
    return {REFINER_KEY: path} if path.is_file() else {}


@contextmanager
def _unreadable_code_as_fault() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason, remedy = why_unreadable(error)
        value = f"{error.filename}: {reason}"
        raise FaultsError([Fault("the trainer's code can't be read", value, remedy)]) from error


def load_train_script(options: LaunchOptions, roots: Roots | None) -> TrainScript:
    """Do what `load_train_scripts` does for a launch without a sweep."""
    return load_train_scripts(options, roots, (Setting(),))[0]


def load_train_scripts(
    options: LaunchOptions, roots: Roots | None, settings: Sequence[Setting]
) -> list[TrainScript]:
    """Compose and check, for each setting, the configuration of the script that the options name.

    `roots` is None where they could not be resolved. What is wrong is in `faults` of the results;
    raises FaultsError where the project's own configuration can't be read.
    """
    path, of_each = given_path(options, "train_script"), [each.of(options) for each in settings]
    if path != OWN_SCRIPT:
        return [_other_script(path, each, roots) for each in of_each]
    swept = [each.overrides for each in settings]
    composed = overrides.compose_all(OWN_CONFIG, options.overrides, swept)
    return [_own_script(each, roots, own) for each, own in zip(of_each, composed, strict=True)]


def given_path(options: LaunchOptions, option: str) -> Path:
    """Return a path option: a given one starts at the caller's folder, the default at ours.

    The default trainer is the one beside these sources.
    """
    value, default = getattr(options, option), LaunchOptions.model_fields[option].default
    if value != default:
        return absolute(value)
    return CHECKOUT / default if option == "train_script" else shipped(default)


def _own_script(
    options: LaunchOptions, roots: Roots | None, composed: overrides.Composition
) -> TrainScript:
    content, faults = composed.content, checks.FaultCollector(composed.faults)
    faults.add(_other_config_faults(options))
    faults.add(reserved_by_effect(OWN_CONFIG, options.overrides))
    content = _with_launch(content, options.exp_name, roots)
    resolved = faults.collect(resolve, content)
    values = overrides.flat(resolved) if resolved else resolve_what_is_known(content)
    mode = RUN_MODES.get(values.get(MODE_KEY, ""), TRAIN)
    is_default = not options.overrides and values.get(MODE_KEY) == TRAIN.name
    schema = None if is_default or not resolved else faults.collect(_check_schema, resolved)
    faults.add(_mode_faults(mode))
    return TrainScript(
        OWN_SCRIPT,
        options.overrides,
        mode.expected_outputs,
        mode=mode,
        content=content,
        values=values,
        schema=schema,
        faults=tuple(faults.found),
        warnings=composed.warnings,
    )


def _other_config_faults(options: LaunchOptions) -> list[Fault]:
    if not options.train_config or given_path(options, "train_config") == OWN_CONFIG:
        return []
    what = f"--train-config: the project's own trainer reads {OWN_CONFIG.name}"
    remedy = "change keys with --overrides, or edit that file"
    return [Fault(what, options.train_config, remedy)]


def _check_schema(resolved: dict[str, Any]) -> Config:
    from training.trainer.config.compose import check_schema

    return check_schema(resolved)


def _mode_faults(mode: RunMode) -> list[Fault]:
    generating = mode_generating_for(mode.name)
    if generating is None:
        return []
    remedy = f"give run_mode={generating.name}: what is done is left out, and the aggregate runs"
    return [Fault("runs once for all scenes, not for each", f"run_mode={mode.name}", remedy)]


def _other_script(path: Path, options: LaunchOptions, roots: Roots | None) -> TrainScript:
    faults = checks.FaultCollector(checks.script_faults(path))
    content, warnings = dict[str, Any](), tuple[str, ...]()
    values: dict[str, Any] = dict(text.split("=", 1) for text in options.overrides if "=" in text)
    if options.train_config:
        config = given_path(options, "train_config")
        composed = faults.collect(_compose_application, path, config, options)
        composed = composed or overrides.Composition({})
        faults.add(composed.faults)
        content = _with_launch(composed.content, options.exp_name, None)
        values = resolve_what_is_known(content)
        warnings = composed.warnings
    else:
        faults.collect(overrides.check_syntax, options.overrides)
        faults.add(reserved_by_name(options.overrides))
    return TrainScript(
        path,
        options.overrides,
        options.expect,
        content=content,
        values=values,
        output_roots=tuple(roots.model_dump().values()) if roots else (),
        faults=tuple(faults.found),
        warnings=warnings,
    )


def _compose_application(
    script: Path, config: Path, options: LaunchOptions
) -> overrides.Composition:
    from training.configuration.applications import Application
    from training.configuration.script_configs import compose_application

    launch = (
        assignment(overrides.SCENE_KEY, ANY_SCENE),
        assignment(overrides.EXPERIMENT_KEY, options.exp_name),
    )
    return compose_application(Application(config, options.overrides, launch), script)


def _with_launch(content: dict[str, Any], exp_name: str, roots: Roots | None) -> dict[str, Any]:
    """Return a composed configuration with the values that the launcher will give the script.

    `roots`: those that the project's own trainer takes from variables; another one has its own.
    """
    if not isinstance(content.get("shared"), dict):
        return content
    shared = {**content["shared"], "exp_name": exp_name}
    if roots is not None:
        folders = roots.model_dump(include={"results_root", "scene_data_root"})
        shared |= {key: str(path) for key, path in folders.items()}
    return _with_scene({**content, "shared": shared}, ANY_SCENE, f"{ANY_SCENE}.json")


def _with_scene(content: dict[str, Any], name: str, file: str) -> dict[str, Any]:
    if not isinstance(content.get("shared"), dict):
        return content
    shared = {**content["shared"], "scene_name": name}
    if "scene_file" in shared:
        shared["scene_file"] = file
    return {**content, "shared": shared}
