"""Machine code is kept below the state root, complete or not at all, and never for another CPU."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from preprocess.faults import FaultsError
from training.trainer.gaussians import rasterizer
from training.trainer.gaussians.cpu_rasterizer import compiled_code
from training.trainer.gaussians.cpu_rasterizer.compiled_code import (
    Kernels,
    code_folder,
    compile_kernels,
    load_kernels,
)


@pytest.fixture(scope="session")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with this machine's code, which no test changes."""
    state_root = tmp_path_factory.mktemp("code")
    load_kernels(state_root)
    return code_folder(state_root)


@pytest.fixture
def state_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    return tmp_path


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[Path | None]:
    """Where code was asked for; nothing is compiled, one file is written where that is allowed."""
    asked: list[Path | None] = []

    def compile_nothing(folder: Path | None, *, writable: bool) -> Kernels:
        asked.append(folder)
        if folder is not None and writable:
            folder.mkdir(parents=True)
            (folder / "code").touch()
        return Kernels(*[print] * 6)

    monkeypatch.setattr(compiled_code, "compile_kernels", compile_nothing)
    return asked


def test_code_is_kept_and_loaded_again(code: Path, state_root: Path) -> None:
    """From a folder that nothing may be written to: what is missing there would be an error."""
    shutil.copytree(code, code_folder(state_root))
    before = sorted(path.stat().st_mtime_ns for path in code_folder(state_root).iterdir())
    compile_kernels(code_folder(state_root), writable=False)
    assert before == sorted(path.stat().st_mtime_ns for path in code_folder(state_root).iterdir())
    assert list(code_folder(state_root).parent.iterdir()) == [code_folder(state_root)]


def test_code_lies_below_the_state_root_or_where_numbas_variable_says(
    state_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert code_folder(state_root).parent == state_root / "compiled"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(state_root / "mine"))
    assert code_folder(state_root).parent == state_root / "mine"


def test_each_cpu_library_and_version_of_the_sources_has_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = {code_folder(tmp_path)}
    with monkeypatch.context() as patch:
        patch.setattr(compiled_code, "_cpu", lambda: ["model: another"])
        folders.add(code_folder(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(compiled_code, "version", lambda name: f"{name} 99")
        folders.add(code_folder(tmp_path))
    monkeypatch.setattr(compiled_code, "SOURCES", ("kernels.py",))
    assert len(folders | {code_folder(tmp_path)}) == 4


def test_of_several_processes_at_once_the_first_to_finish_keeps_its_code(
    state_root: Path, compiled: list[Path | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_nothing = compiled_code.compile_kernels

    def be_slower(folder: Path, *, writable: bool) -> Kernels:
        code_folder(state_root).mkdir()
        (code_folder(state_root) / "of another process").touch()
        return compile_nothing(folder, writable=writable)

    (state_root / "compiled").mkdir()
    monkeypatch.setattr(compiled_code, "compile_kernels", be_slower)
    load_kernels(state_root)
    assert len(compiled) == 1
    assert [path.name for path in code_folder(state_root).iterdir()] == ["of another process"]
    assert list((state_root / "compiled").iterdir()) == [code_folder(state_root)]


def test_where_nothing_can_be_written_code_is_compiled_in_memory(
    state_root: Path, compiled: list[Path | None], capsys: pytest.CaptureFixture[str]
) -> None:
    (state_root / "compiled").touch()  # root may write everywhere else
    load_kernels(state_root)
    assert compiled[-1] is None
    assert "can't be kept" in capsys.readouterr().out


def test_a_full_disk_leaves_nothing_behind(
    state_root: Path, compiled: list[Path | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_nothing = compiled_code.compile_kernels

    def fill(folder: Path | None, *, writable: bool) -> Kernels:
        kernels = compile_nothing(folder, writable=writable)
        if folder is not None:
            raise OSError(28, "No space left on device")
        return kernels

    monkeypatch.setattr(compiled_code, "compile_kernels", fill)
    load_kernels(state_root)
    assert compiled[-1] is None
    assert list((state_root / "compiled").iterdir()) == []


@pytest.mark.parametrize("damage", ["truncated", "emptied", "missing"])
def test_damaged_code_is_compiled_again(
    code: Path,
    state_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    damage: str,
) -> None:
    """And replaced by a complete folder."""
    folder = code_folder(state_root)
    shutil.copytree(code, folder)
    file = next(folder.glob("*sum_over_bands-*.nbc"))  # the one that is compiled quickest
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: 1000 if damage == "truncated" else 0])

    def compile_quickly(target: Path | None, *, writable: bool) -> Kernels:
        if writable and target is not None:
            shutil.copytree(code, target)
        return compile_kernels(target, writable=writable)

    monkeypatch.setattr(compiled_code, "compile_kernels", compile_quickly)
    load_kernels(state_root)
    assert "damaged" in capsys.readouterr().out
    compile_kernels(folder, writable=False)
    assert list(folder.parent.iterdir()) == [folder]


def test_without_numba_auto_says_so_once_and_takes_pytorch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rasterizer, "has_compiler", lambda: False)
    rasterizer.cpu_rasterizer.cache_clear()
    assert rasterizer.cpu_rasterizer("auto") is rasterizer.rasterize_pytorch
    assert rasterizer.cpu_rasterizer("auto") is rasterizer.rasterize_pytorch
    assert capsys.readouterr().out.count("numba") == 1
    with pytest.raises(FaultsError, match="numba"):
        rasterizer.cpu_rasterizer("compiled")
    rasterizer.cpu_rasterizer.cache_clear()
