"""Find and read the sources of a trainer: which files they are, and whether they can be kept.

Of the project's own trainer: the packages that it is made of and its configuration. Of another
script: what Git tracks in its repository and the untracked files that it does not ignore; without a
repository, the script's folder.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

from training.snapshots.manifest import LINK, MISSING, SNAPSHOTS, Manifest, Sources, entry, hashed
from training.system.git import git_output

OWN_PACKAGES = ("preprocess", "training")
OWN_SUFFIXES = (".npz", ".py", ".yaml")
NO_SOURCES = ("preprocess/scenes/", "training/configs/paths.yaml")
"""Scene files, which a plan holds itself, and where this site keeps its data."""
MOST_BYTES = 50 * 2**20
MOST_FILES = 5_000
C_SUFFIXES = (".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp", ".so")
CODE_SUFFIXES = (
    *C_SUFFIXES,
    ".cfg",
    ".ini",
    ".json",
    ".py",
    ".pyx",
    ".sh",
    ".toml",
    ".yaml",
    ".yml",
)
"""What is compared of sources that are too large, or not to be kept: the rest may be data and logs,
which scenes themselves change."""
LEFT_OUT = {"__pycache__", "node_modules"}


_git = partial(git_output, timeout_s=20.0)


@dataclass
class Reading:
    """Sources as they were read, once."""

    sources: Sources
    manifest: Manifest
    contents: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    """Content and permissions by name; empty where no copy is kept."""
    beside: tuple[str, ...] = ()
    """Names below the root that are no sources (data, builds): the copy has links to them."""
    warning: str = ""


class _TooLargeError(Exception):
    """The sources are too many or too large to be kept."""


@dataclass(frozen=True)
class _Tree:
    """The names of sources below a folder, sorted, and of what lies beside them."""

    root: Path
    names: tuple[str, ...]
    beside: tuple[str, ...] = ()
    is_own: bool = False


def sources_root(script: Path, own_checkout: Path, *, is_own: bool) -> Path:
    """Return the folder that a script's sources lie in."""
    return own_checkout if is_own else _repository(script) or _real(script).parent


def read_sources(
    script: Path,
    config: Path | None,
    own_checkout: Path | None,
    roots: Collection[Path],
    state_root: Path,
    *,
    keep: bool,
) -> Reading:
    """Read the sources of a script.

    `own_checkout`: of the project's own trainer; None for another script. `config`: the file that
    --train-config names. `roots`: folders of data and results, which are no sources. Raises OSError
    where the script's folder can't be read.
    """
    tree = _own_tree(own_checkout) if own_checkout else _tree(_real(script), roots)
    outside = [config] if config is not None and not _is_below(config, tree.root) else []
    warning = ""
    if keep:
        try:
            return _read(tree, outside, state_root)
        except _TooLargeError as error:
            what = f"the sources in {tree.root} are too large to keep a copy ({error})"
            warning = f"{what}: an attempt ends as config once its code has changed"
    names = tree.names if tree.is_own else _code_names(tree, _real(script))
    files = {name: entry(f"{tree.root}/{name}") for name in names}
    manifest = _manifest(tree.root, files, outside)
    return Reading(_sources(manifest, state_root, is_kept=False), manifest, warning=warning)


def _sources(manifest: Manifest, state_root: Path, *, is_kept: bool) -> Sources:
    folder = state_root / SNAPSHOTS
    return Sources(root=manifest.root, folder=folder, digest=manifest.digest, is_kept=is_kept)


def _manifest(root: Path, files: dict[str, str], outside: Iterable[Path]) -> Manifest:
    there = {name: known for name, known in files.items() if known != MISSING}
    return Manifest(root=root, files=there, outside={str(p): entry(str(p)) for p in outside})


def _read(tree: _Tree, outside: Iterable[Path], state_root: Path) -> Reading:
    """Read every file that there is; raises _TooLargeError."""
    if len(tree.names) > MOST_FILES:
        raise _TooLargeError(f"more than {MOST_FILES:,} files")
    contents: dict[str, tuple[bytes, int]] = {}
    files: dict[str, str] = {}
    left = MOST_BYTES
    for name in tree.names:
        read = _read_file(f"{tree.root}/{name}", tree.root, left)
        if isinstance(read, str):
            files[name] = read
        elif read is not None:
            contents[name] = read
            files[name] = hashed(read[0])
            left -= len(read[0])
    manifest = _manifest(tree.root, files, outside)
    return Reading(
        _sources(manifest, state_root, is_kept=True), manifest, contents, beside=tree.beside
    )


def _read_file(path: str, root: Path, most: int) -> tuple[bytes, int] | str | None:
    """Return content and permissions, or the entry of a link to a folder.

    None for what is no file or can't be read. Raises _TooLargeError above `most` bytes.
    """
    try:
        if os.path.islink(path) and os.path.isdir(path):  # noqa: PTH112, PTH114
            return LINK + _link_target(path, root)
        found = os.stat(path)  # noqa: PTH116
        if not stat.S_ISREG(found.st_mode):
            return None
        if found.st_size > most:
            raise _TooLargeError(f"more than {MOST_BYTES // 2**20} MB")
        with open(path, "rb") as stream:  # noqa: PTH123
            return stream.read(), stat.S_IMODE(found.st_mode)
    except OSError:  # deleted, though Git tracks it, or another user's
        return None


def _link_target(path: str, root: Path) -> str:
    """Return a target that means the same from the copy: relative within the sources."""
    target = os.readlink(path)  # noqa: PTH115
    real = Path(path).parent / target
    if not Path(target).is_absolute() and _is_below(Path(os.path.abspath(real)), root):
        return target
    return os.path.abspath(real)


def _own_tree(checkout: Path) -> _Tree:
    names = [
        f"{folder}/{name}"
        for folder in OWN_PACKAGES
        for name in _walk(f"{checkout}/{folder}", ())
        if name.endswith(OWN_SUFFIXES) and not f"{folder}/{name}".startswith(NO_SOURCES)
    ]
    return _Tree(checkout, tuple(sorted(names)), is_own=True)


def _tree(script: Path, roots: Collection[Path]) -> _Tree:
    """Return another script's sources as Git lists them; without Git, all files of its folder."""
    repository = _repository(script)
    names = _git_names(repository) if repository else None
    if repository is not None and names is not None:
        inside = _roots_inside(repository, roots)
        kept = tuple(sorted({name for name in names if not name.startswith(inside)}))
        if os.path.relpath(script, repository) in kept:
            return _Tree(repository, kept, tuple(_ignored_names(repository)))
    folder = script.parent
    kept = tuple(islice(_walk(str(folder), _roots_inside(folder, roots)), MOST_FILES + 1))
    return _Tree(folder, tuple(sorted({*kept, script.name})), tuple(_top_level(folder, kept)))


def _code_names(tree: _Tree, script: Path) -> list[str]:
    """Return the names of code and configuration, the script and what is next to it first."""
    own = str(script.relative_to(tree.root))
    near = own.rpartition("/")[0]
    code = sorted(
        (name for name in tree.names if name.endswith(CODE_SUFFIXES) and name != own),
        key=lambda name: (not name.startswith(near), name.count("/"), name),
    )
    return [own, *code[: MOST_FILES - 1]]


def _roots_inside(folder: Path, roots: Iterable[Path]) -> tuple[str, ...]:
    """Return, with a slash, the names of those roots that lie inside the folder."""
    inside = [root for root in map(Path, map(os.path.realpath, roots)) if _is_below(root, folder)]
    return tuple(f"{root.relative_to(folder)}/" for root in inside if root != folder)


def _is_below(path: Path, folder: Path) -> bool:
    return path.is_relative_to(folder)


def _walk(folder: str, left_out: tuple[str, ...], prefix: str = "") -> Iterator[str]:
    """Yield the names of files below a folder; no hidden folders, virtual environments, caches."""
    with os.scandir(folder) as entries:
        for each in entries:
            name = f"{prefix}{each.name}"
            if each.name.startswith(".") or each.name in LEFT_OUT:
                continue
            if not each.is_dir(follow_symlinks=False):
                yield name
            elif not _is_foreign(each.path) and f"{name}/" not in left_out:
                yield from _walk(each.path, left_out, f"{name}/")


def _is_foreign(folder: str) -> bool:
    """Return whether a folder is a virtual environment, or can't be read."""
    return os.path.exists(f"{folder}/pyvenv.cfg") or not os.access(folder, os.R_OK | os.X_OK)  # noqa: PTH110


def _top_level(folder: Path, names: Iterable[str]) -> Iterator[str]:
    """Yield what lies at the top of a folder and is none of its sources."""
    kept = {name.partition("/")[0] for name in names}
    for each in os.scandir(folder):
        if each.name not in kept | LEFT_OUT | {".git"}:
            yield each.name


def _real(script: Path) -> Path:
    """Return a path with its links followed; one in a loop of links stays as it is, and no file."""
    return Path(os.path.realpath(script))


def _repository(script: Path) -> Path | None:
    answer = _git(_real(script).parent, "rev-parse", "--show-toplevel")
    return Path(os.fsdecode(answer).removesuffix("\n")) if answer else None


def _git_names(folder: Path, prefix: str = "") -> list[str] | None:
    """Return the files that Git tracks or does not ignore, those of nested repositories too."""
    found = _git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if found is None:
        return None
    names: list[str] = []
    for name in dict.fromkeys(_split(found)):
        path = folder / name
        if name.endswith("/") or (path.is_dir() and not path.is_symlink()):
            names += _git_names(path, f"{prefix}{name.rstrip('/')}/") or []
        else:
            names.append(prefix + name)
    return names


def _ignored_names(repository: Path) -> Iterator[str]:
    found = _git(
        repository,
        *("ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory"),
    )
    for name in _split(found or b""):
        stripped = name.rstrip("/")
        if stripped.rpartition("/")[2] not in LEFT_OUT and not stripped.endswith(".pyc"):
            yield stripped


def _split(answer: bytes) -> list[str]:
    return [os.fsdecode(name) for name in answer.split(b"\0") if name]
