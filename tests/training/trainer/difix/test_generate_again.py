"""Generation that was interrupted or is asked for again: the same bytes, nothing twice."""

from __future__ import annotations

import errno
import itertools
import os
import resource
import shutil
import signal
import subprocess
import sys

from preprocess.roots import CHECKOUT
from training.trainer.difix import generate, pipeline, shard

KEY = "difix_data_generation"


def at_sample(monkeypatch, number, happens):
    """Call `happens` in the middle of writing the sample with that number (the first is 1)."""
    numbers, write = itertools.count(1), shard.write_durably

    def wrapped(path, content):
        if path.name == "meta.json" and next(numbers) == number:
            happens(path)
        write(path, content)

    monkeypatch.setattr(shard, "write_durably", wrapped)


def test_killed_at_any_moment_the_same_command_gives_the_same_bytes(shards):
    """SIGKILL in the middle of the fourth sample; files that belong to others stay."""
    whole = shards.contents(shards.shard_folder())
    shutil.rmtree(shards.shard_folder())
    shards.shard_folder().mkdir()
    (shards.shard_folder() / "train.log").write_text("=== attempt 1\n", encoding="utf-8")
    code = (
        "import itertools, os, signal, sys\n"
        "from training.trainer.difix import shard\n"
        "from training.simple_multi_human_trainer import main\n"
        "write, numbers = shard.write_durably, itertools.count(1)\n"
        "def killing(path, content):\n"
        "    last = path.name == 'image.png' and next(numbers) == 4\n"
        "    write(path, content[:40] if last else content)\n"
        "    if last: os.kill(os.getpid(), signal.SIGKILL)\n"
        "shard.write_durably = killing\n"
        "main(sys.argv[1:])\n"
    )
    mode = ("run_mode=difix_data_generation_generate", f"{KEY}.require_checkpoint=false")
    killed = subprocess.run(
        [sys.executable, "-c", code, *shards.arguments(*mode, name=shards.name)],
        cwd=CHECKOUT,
        timeout=120,
        check=False,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    assert killed.returncode == -signal.SIGKILL
    left = [path.name for path in (shards.shard_folder() / "samples").iterdir()]
    assert 1 <= len([name for name in left if name[0] != "."]) < 6
    assert [name for name in left if name[0] == "."]
    assert not (shards.shard_folder() / "shard.json").exists()
    assert shards.generate() == 0
    log = shards.shard_folder() / "train.log"
    assert log.read_text("utf-8") == "=== attempt 1\n"
    log.unlink()
    assert shards.contents(shards.shard_folder()) == whole


def test_sigterm_stops_with_143_and_the_rerun_goes_on(shards, monkeypatch, capsys):
    """Complete samples are kept and not made again."""
    whole = shards.contents(shards.shard_folder())
    shutil.rmtree(shards.shard_folder())
    with monkeypatch.context() as patch:
        at_sample(patch, 2, lambda _: os.kill(os.getpid(), signal.SIGTERM))
        assert shards.generate(f"{KEY}.workers=1") == 143
    kept = [path.name for path in (shards.shard_folder() / "samples").iterdir()]
    assert 1 <= len(kept) < 6
    assert not [name for name in kept if name[0] == "."]
    assert not (shards.shard_folder() / "shard.json").exists()
    capsys.readouterr()
    assert shards.generate() == 0
    assert f"({len(kept)} found whole)" in capsys.readouterr().out
    assert shards.contents(shards.shard_folder()) == whole


def test_a_full_disk_leaves_no_shard_and_the_rerun_completes_it(shards, monkeypatch, capsys):
    """Exit status 1 with the reason; no half sample is left."""
    whole = shards.contents(shards.shard_folder())
    shutil.rmtree(shards.shard_folder())

    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        at_sample(patch, 3, full)
        assert shards.generate() == 1
    error = capsys.readouterr().err
    assert "generating DiFix data failed: [Errno 28] No space left on device" in error
    assert not (shards.shard_folder() / "shard.json").exists()
    left = [path.name for path in (shards.shard_folder() / "samples").iterdir()]
    assert not [name for name in left if name[0] == "."]
    assert shards.generate() == 0
    assert shards.contents(shards.shard_folder()) == whole


def test_a_disk_that_is_full_for_the_shard_itself_leaves_none(shards, monkeypatch, capsys):
    """Files may not grow beyond 1 kB here: samples are complete, shard.json can't be written."""
    whole = shards.contents(shards.shard_folder())
    (shards.shard_folder() / "shard.json").unlink()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))
    try:
        with monkeypatch.context() as patch:  # it would not fit either
            patch.setattr(generate, "write_contact_sheet", lambda *_: None)
            assert shards.generate() == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "File too large" in capsys.readouterr().err
    assert not (shards.shard_folder() / "shard.json").exists()
    assert shards.generate() == 0
    assert shards.contents(shards.shard_folder()) == whole


def test_another_configuration_makes_everything_anew(shards):
    """No sample of the old one survives; the old configuration again gives the old bytes."""
    whole = shards.contents(shards.shard_folder())
    assert shards.generate("seed=1", f"{KEY}.frame_stride=3") == 0
    other = shards.contents(shards.shard_folder())
    frames = {sample["target_frame"] for sample in shards.shard()["samples"]}
    assert frames == {1, 4}
    assert len([name for name in other if name.endswith("image.png")]) == 4
    image = next(name for name in other if name.endswith("/image.png"))
    assert other[image] != whole[image]
    assert shards.generate() == 0
    assert shards.contents(shards.shard_folder()) == whole


def test_what_is_whole_is_not_rendered_again(shards, monkeypatch):
    """A whole shard needs nothing; a sample that was deleted or cut short is made anew."""
    whole = shards.contents(shards.shard_folder())
    drawn, render = [], pipeline.render
    monkeypatch.setattr(pipeline, "render", lambda *at: drawn.append(1) or render(*at))
    written = (shards.shard_folder() / "shard.json").stat().st_mtime_ns
    assert shards.generate() == 0
    assert drawn == []
    assert (shards.shard_folder() / "shard.json").stat().st_mtime_ns == written
    samples = sorted((shards.shard_folder() / "samples").iterdir())
    shutil.rmtree(samples[0])
    (samples[1] / "image.png").write_bytes(b"")
    assert shards.generate() == 0
    assert len(drawn) == 2
    assert shards.contents(shards.shard_folder()) == whole


def test_the_number_of_workers_changes_no_byte(shards):
    """One at a time or three."""
    whole = shards.contents(shards.shard_folder())
    for workers in (1, 3):
        shutil.rmtree(shards.shard_folder())
        assert shards.generate(f"{KEY}.workers={workers}") == 0
        assert shards.contents(shards.shard_folder()) == whole
