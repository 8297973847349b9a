"""The settings of `--sweep`: every combination of its values, each an experiment of its own.

The experiment of a setting is named `<sweep>/epochs=30,seed=1`, and so is its folder inside a
scene's. In a plan, and wherever a sweep's scenes are listed, a scene of it is
`epochs=30,seed=1/<scene>` (`training.system.paths`).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, product
from pathlib import Path
from typing import TYPE_CHECKING

from preprocess.faults import Fault, FaultsError
from training.configuration.launch_arguments import key_of

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

    from training.plan.options import LaunchOptions

MOST_SETTINGS = 10_000
MOST_TRAININGS = 100_000
LONGEST_SETTING = 100
"""Characters of a setting's name: of a longer one a hash stands for the last keys."""
OTHERS = "others"
"""Key of that hash."""
UNSAFE = re.compile(r"[^\w.+-]+", re.ASCII)
"""What a folder's name is kept free of, so that it needs no quotes in a shell."""
RUN_MODE = "run_mode"


@dataclass(frozen=True)
class Setting:
    """One combination of a sweep's values; of a launch without a sweep its only one, unnamed."""

    name: str = ""
    """`epochs=30,seed=1`: names its folder."""
    overrides: tuple[str, ...] = ()

    def of(self, options: LaunchOptions) -> LaunchOptions:
        """Return a launch's options with the experiment and the overrides of this setting."""
        if not self.name:
            return options
        overrides = (*options.overrides, *self.overrides)
        update = {"exp_name": f"{options.exp_name}/{self.name}", "overrides": overrides}
        return options.model_copy(update=update)

    def label(self, scene: str) -> str:
        """Return the name of a scene in the plan: `epochs=30,seed=1/<scene>`."""
        return f"{self.name}/{scene}" if self.name else scene


@dataclass(frozen=True)
class _SweptKey:
    key: str
    """As in an override: with its prefix and package."""
    values: tuple[str, ...]

    @property
    def parts(self) -> list[str]:
        return re.split(r"[./@]", self.key.lstrip("+"))


def settings_of(
    sweep: Sequence[str], overrides: Sequence[str], config: Path | None
) -> tuple[Setting, ...]:
    """Return the settings of a sweep in Hydra's order, the last key's values changing fastest.

    `overrides`: those that all settings share. `config`: the Hydra configuration, in whose groups
    a glob looks. Raises FaultsError.
    """
    if not sweep:
        return (Setting(),)
    keys, faults = _swept_keys(sweep, config)
    faults += [*_key_faults(keys, overrides), *_count_faults(keys), *_value_faults(keys)]
    if faults:
        raise FaultsError(faults)
    return tuple(_settings(keys))


def _settings(keys: Sequence[_SweptKey]) -> Iterator[Setting]:
    tails = shortest_tails([each.parts for each in keys])
    for values in product(*(each.values for each in keys)):
        parts = [f"{tail}={_legible(value)}" for tail, value in zip(tails, values, strict=True)]
        pairs = zip(keys, values, strict=True)
        overrides = tuple(f"{each.key}={value}" for each, value in pairs)
        yield Setting(_joined(parts, overrides), overrides)


def shortest_tails(names: Sequence[Sequence[str]]) -> list[str]:
    """Return for each dotted name its shortest ending that no other one has: `epochs`."""
    counts = Counter(tail for name in names for tail in {*map(tuple, _tails(name))})
    return [".".join(next((t for t in _tails(n) if counts[tuple(t)] == 1), n)) for n in names]


def _tails(name: Sequence[str]) -> list[Sequence[str]]:
    return [name[-length:] for length in range(1, len(name) + 1)]


def _legible(value: str) -> str:
    return UNSAFE.sub("_", value).strip("_") or "_"


def _joined(parts: Sequence[str], overrides: Sequence[str]) -> str:
    """Return a setting's name; of a long one the first keys, and a hash of all overrides."""
    name = ",".join(parts)
    if len(name) <= LONGEST_SETTING:
        return name
    number = hashlib.sha256("\0".join(overrides).encode()).hexdigest()[:8]
    others = f"{OTHERS}={number}"
    lengths = accumulate(len(part) + 1 for part in parts)  # with its comma
    kept = sum(length + len(others) <= LONGEST_SETTING for length in lengths)
    return ",".join([*parts[:kept], others])


def _swept_keys(sweep: Sequence[str], config: Path | None) -> tuple[list[_SweptKey], list[Fault]]:
    """Return the keys of a sweep with their values, and the faults of those that have none."""
    from training.configuration.hydra_adapter import composing, parse

    if config and config.is_file():
        with composing(config):
            parsed, faults = parse(sweep)
            return _enumerated(parsed, faults)
    return _enumerated(*parse(sweep))


def _enumerated(
    parsed: Sequence[Override], faults: list[Fault]
) -> tuple[list[_SweptKey], list[Fault]]:
    from training.configuration.hydra_adapter import CompositionError, swept_values
    from training.configuration.overrides import interval_fault

    keys = []
    for override in parsed:
        text = repr(override.input_line)
        if override.is_delete():
            what = "--sweep takes keys with their values; what is removed is the same for all"
            faults.append(Fault(what, text, "give it to --overrides"))
        elif override.is_interval_sweep():
            faults.append(interval_fault(override))
        else:
            try:
                values = swept_values(override, MOST_SETTINGS + 1)
            except CompositionError as error:
                faults.append(Fault("--sweep: Hydra can't list the values", f"{text} ({error})"))
                continue
            if not values:
                faults.append(Fault("--sweep: no value", text, "give at least one"))
            keys.append(_SweptKey(override.get_key_element(), tuple(values)))
    return keys, faults


def _key_faults(keys: Sequence[_SweptKey], overrides: Sequence[str]) -> Iterator[Fault]:
    from training.configuration.reserved_keys import reserved_by_name

    counts = Counter(key_of(each.key + "=") for each in keys)
    fixed = set(map(key_of, overrides))
    for key, count in counts.items():
        yield from reserved_by_name([f"{key}=…"])
        if count > 1:
            yield Fault("--sweep names a key twice", key, "name it once, with all its values")
        if key in fixed:
            yield Fault("in --sweep and in --overrides", key, "leave it out of one of them")
        if key == RUN_MODE:
            yield Fault("--sweep can't vary what is made", key, "one command for each run mode")


def _count_faults(keys: Sequence[_SweptKey]) -> Iterator[Fault]:
    counts = [len(each.values) for each in keys]
    count = math.prod(counts)
    if counts and count > MOST_SETTINGS:
        more = "at least " if max(counts) > MOST_SETTINGS else ""
        remedy = f"at most {MOST_SETTINGS:,}: fewer values, or several sweeps"
        yield Fault("--sweep has too many combinations", f"{more}{count:,}", remedy)


def _value_faults(keys: Sequence[_SweptKey]) -> Iterator[Fault]:
    """Yield a fault for values of a key with which two settings would have the same folder."""
    for each in keys:
        named: dict[str, list[str]] = {}
        for value in each.values:
            named.setdefault(_legible(value), []).append(value)
        for name, values in named.items():
            if len(set(values)) < len(values):
                value = f"{each.key}={values[0]}"
                yield Fault("--sweep gives a value twice", value, "give it once")
            elif len(values) > 1:
                what = f"--sweep: values of {each.key} would share the folder {name}"
                yield Fault(what, ", ".join(values), "give one of them another spelling")


def parameters_of(setting: str) -> Mapping[str, str]:
    """Return a setting's values by key, as its name has them: `{"epochs": "30", "seed": "1"}`."""
    pairs = (part.partition("=") for part in setting.split(","))
    return {key: value for key, _, value in pairs if key}


def too_many_trainings(settings: int, scenes: int) -> list[Fault]:
    """Return a fault where settings times scenes are more than one plan holds."""
    if settings * scenes <= MOST_TRAININGS:
        return []
    value = f"{settings:,} settings of {scenes:,} scenes are {settings * scenes:,}"
    remedy = f"at most {MOST_TRAININGS:,}: fewer values or scenes, or several sweeps"
    return [Fault("--sweep has too many trainings", value, remedy)]


def in_settings(settings: Sequence[Setting], faults: Sequence[Sequence[Fault]]) -> list[Fault]:
    """Return the faults of all settings once each; those of some name the first that has them.

    Not those that show an override of the setting already.
    """
    having: dict[Fault, list[Setting]] = {}
    for setting, found in zip(settings, faults, strict=False):
        for fault in dict.fromkeys(found):
            having.setdefault(fault, []).append(setting)
    return [
        fault if len(some) == len(settings) or _names_setting(fault, some[0])
        else replace(fault, what=f"{some[0].name}{_and_more(len(some) - 1)}: {fault.what}")
        for fault, some in having.items()
    ]  # fmt: skip


def _names_setting(fault: Fault, setting: Setting) -> bool:
    return any(text in fault.value for text in setting.overrides)


def _and_more(count: int) -> str:
    return f" (and {count} more settings)" if count else ""
