"""Start a trainer from the sources of its plan, whatever was edited since."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from preprocess.roots import CHECKOUT, CHECKOUT_VARIABLE
from training.snapshots.manifest import Manifest, Sources, has_folder, listed, read_manifest

AGAIN = "run the same command again"


class SourcesChangedError(Exception):
    """The sources of a plan, or their copy, are no longer what they were; the message says what."""


def from_sources(
    sources: Sources | None, command: Sequence[str], environment: Mapping[str, str]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return a planned command, and its environment, as it runs from the plan's sources.

    The copy takes the place of the script's folder in the command and comes first in PYTHONPATH;
    the working folder stays. `sources` is None in older plans, which run as they are. Raises
    SourcesChangedError when the copy is damaged, or where there is none when the sources differ.
    """
    if sources is None or not sources.digest:
        return tuple(command), dict(environment)
    manifest = _manifest(sources)
    _check(sources, manifest)
    if not sources.is_kept:
        return tuple(command), dict(environment)
    interpreter, script, *arguments = command
    from_copy = (interpreter, _in_copy(sources, script), *arguments)
    return from_copy, {**environment, **_variables(sources, manifest, environment)}


def sources_line(sources: Sources | None) -> str:
    """Return the line about its sources that stands in a log above an attempt; empty for none."""
    if sources is None or not sources.digest or not sources.is_kept:
        return ""
    return f"{sources.root} as it was when the plan was made: {sources.copy_folder}"


def _manifest(sources: Sources) -> Manifest:
    try:
        return read_manifest(sources.manifest_file)
    except (OSError, ValueError) as error:
        what = f"the plan's sources are not known any more ({error})"
        raise SourcesChangedError(f"{what}: {AGAIN}") from error


def _check(sources: Sources, manifest: Manifest) -> None:
    """Raise SourcesChangedError unless what is about to run is what was planned."""
    if not sources.is_kept:
        if changed := manifest.changed(sources.root):
            since = f"changed since the plan was made in {sources.root}"
            raise SourcesChangedError(f"{since}: {listed(changed)}: {AGAIN}")
        return
    if not sources.copy_folder.is_dir():
        what = f"the copy of the plan's sources is gone: {sources.copy_folder}"
        raise SourcesChangedError(f"{what}: {AGAIN}")
    if changed := manifest.changed(sources.copy_folder):
        what = f"not as when the plan was made, in {sources.copy_folder}"
        raise SourcesChangedError(f"{what}: {listed(changed)}: {AGAIN}")


def _in_copy(sources: Sources, script: str) -> str:
    real = Path(script).resolve()
    if not real.is_relative_to(sources.root):
        return script
    return str(sources.copy_folder / real.relative_to(sources.root))


def _variables(
    sources: Sources, manifest: Manifest, environment: Mapping[str, str]
) -> dict[str, str]:
    paths = list(dict.fromkeys(_import_paths(sources, manifest, environment)))
    variables = {"PYTHONPATH": os.pathsep.join(paths)}
    if sources.root == CHECKOUT:
        variables[CHECKOUT_VARIABLE] = environment.get(CHECKOUT_VARIABLE, str(CHECKOUT))
    return variables


def _import_paths(
    sources: Sources, manifest: Manifest, environment: Mapping[str, str]
) -> Iterator[str]:
    """Yield the copy, its folders that an editable install has put on the path, and PYTHONPATH."""
    yield str(sources.copy_folder)
    given = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    for path in (str(sources.root / "src"), *sys.path, *given):
        inside = os.path.relpath(path, sources.root) if os.path.isabs(path) else ".."  # noqa: PTH117
        if not inside.startswith("..") and has_folder(manifest.files, inside):
            yield os.path.normpath(sources.copy_folder / inside)
        elif path in given:
            yield path
