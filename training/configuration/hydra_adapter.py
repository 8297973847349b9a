"""Compose configurations with Hydra itself, and parse overrides as it does.

The only module of the launcher that imports Hydra, and only when a function is called: the import
takes longer than everything else that a dry run does.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preprocess.faults import Fault

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

UNKNOWN_RESOLVER = "Unsupported interpolation type"
"""Begins OmegaConf's message; Hydra resolves a value only to delete or to change it."""


class CompositionError(Exception):
    """Hydra refuses to compose; the message is Hydra's, on one line."""

    def __init__(self, message: str, *, needs_script: bool) -> None:
        super().__init__(message)
        self.needs_script = needs_script
        """Whether a configuration or a resolver is missing, which the script may register."""


@dataclass(frozen=True)
class Composer:
    """Composes one primary configuration with any overrides, while `composing` is open."""

    config: Path
    always: tuple[str, ...] = ()
    """Overrides that stand before all others."""
    known: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict, init=False)
    """What was composed, by overrides: Hydra takes 0.1 s each time."""

    def compose(self, overrides: Sequence[str]) -> dict[str, Any]:
        """Return the composed configuration, interpolations unresolved, Hydra's own section too.

        Raises CompositionError.
        """
        key = tuple(overrides)
        if key not in self.known:
            self.known[key] = self._compose(overrides)
        return copy.deepcopy(self.known[key])

    def _compose(self, overrides: Sequence[str]) -> dict[str, Any]:
        from hydra import compose
        from hydra.errors import MissingConfigException
        from omegaconf import OmegaConf

        try:
            texts = [*self.always, *overrides]
            composed = compose(self.config.stem, texts, return_hydra_config=True)
            content = OmegaConf.to_container(composed, resolve=False, enum_to_str=True)
        except _errors() as error:
            message = one_line(error)
            is_missing = isinstance(error, MissingConfigException) or UNKNOWN_RESOLVER in message
            raise CompositionError(message, needs_script=is_missing) from error
        return {str(key): value for key, value in dict(content).items()}  # type: ignore[arg-type]

    def error(self, overrides: Sequence[str]) -> CompositionError | None:
        """Return why Hydra refuses the configuration with these overrides; None if it does not."""
        try:
            self.compose(overrides)
        except CompositionError as error:
            return error
        return None

    def groups(self, keys: Iterable[str]) -> set[str]:
        """Return those of the keys that are config groups, wherever Hydra finds them."""
        return {key for key in keys if self.options(key)}

    def options(self, group: str) -> list[str]:
        """Return the names of a config group's options; none where there is no such group."""
        from hydra.core.global_hydra import GlobalHydra

        try:
            loader = GlobalHydra.instance().config_loader()
            return loader.get_group_options(group, config_name=self.config.stem)
        except _errors():
            return []


def _errors() -> tuple[type[Exception], ...]:
    """Return what a configuration that can't be composed, or an override's text, ends in.

    Malformed defaults lists and package headers are errors of Python inside Hydra, and so are
    numbers of more than 4,300 digits.
    """
    import yaml
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    of_python = (OSError, ValueError, TypeError, LookupError, AttributeError, AssertionError)
    return (HydraException, OmegaConfBaseException, yaml.YAMLError, *of_python)


@contextmanager
def composing(config: Path, version_base: str | None = None) -> Iterator[Composer]:
    """Open Hydra for a primary configuration file and the folder of its groups.

    `version_base`: as in `hydra.main`; None for the installed version's behaviour. Hydra's warnings
    about the style of a configuration are left to the script that reads it.
    """
    from hydra import initialize_config_dir

    folder = str(config.parent.absolute())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with initialize_config_dir(folder, job_name=config.stem, version_base=version_base):
            yield Composer(config)


def parse(overrides: Sequence[str]) -> tuple[list[Override], list[Fault]]:
    """Return the overrides that Hydra's grammar reads, and a fault for each of the others."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parser, parsed, faults = OverridesParser.create(), list[Any](), list[Fault]()
    for text in overrides:
        try:
            parsed.append(parser.parse_override(text))
        except _errors() as error:
            faults.append(_unparsable(text, one_line(error)))
    return parsed, faults


def _config_loader() -> Any:
    """Return what finds config groups while `composing` is open; None otherwise."""
    from hydra.core.global_hydra import GlobalHydra

    hydra = GlobalHydra.instance()
    return hydra.config_loader() if hydra.is_initialized() else None


def swept_values(override: Override, most: int) -> list[str]:
    """Return the values of a sweep as Hydra would run them, at most so many, written for overrides.

    An override with one value has that one. Raises CompositionError for a sweep that can't be
    enumerated, with Hydra's message.
    """
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    try:
        override.config_loader = _config_loader()  # in which a glob finds its options
        if override.is_range_sweep():  # a shuffled one would be made whole, whatever its length
            numbers: Any = override.value()
            if len(first := list(islice(numbers.range(), most))) == most:
                return [str(number) for number in first]
        return list(islice(override.sweep_string_iterator(), most))
    except _errors() as error:
        raise CompositionError(one_line(error), needs_script=False) from error


def one_line(error: BaseException) -> str:
    """Return an error's message on one line, with that of the error it was raised from."""
    texts = [" ".join(str(each).split()) for each in (error, error.__cause__) if each is not None]
    text = ": ".join(dict.fromkeys(filter(None, texts))) or type(error).__name__
    return text.partition(" Config search path:")[0]


def _unparsable(text: str, reason: str) -> Fault:
    if text.startswith("-"):
        remedy = "only key=value: the launcher starts one run a scene, composed from --train-config"
        return Fault("an option of Hydra is not an override", repr(text), remedy)
    if "=" not in text and not text.startswith("~"):
        return Fault("an override has no '='", repr(text), "write key=value")
    key, _, value = text.partition("=")
    quoted = value.replace("'", "\\'")
    remedy = f"a text with special characters is quoted for Hydra: \"{key}='{quoted}'\""
    return Fault("an override can't be parsed", f"{text!r} ({reason})", remedy)
