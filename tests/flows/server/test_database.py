"""A database that is beyond use is told from one that is only busy, and is kept aside."""

from __future__ import annotations

import contextlib
import os
import sqlite3

import pytest

from flows.server import managed
from flows.server.database import is_beyond_use, put_aside_if_broken
from flows.server.managed import API


@pytest.fixture
def database(tmp_path):
    """A small database of SQLite's."""
    path = tmp_path / "prefect.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE run (id)")
        connection.commit()
    return path


@pytest.mark.parametrize("content", ["whole", "none", "empty", "locked"])
def test_a_database_that_can_be_used_stays(tmp_path, database, content):
    """So does one that another process has locked: nobody can tell now."""
    holder = sqlite3.connect(database)
    if content == "none":
        database.unlink()
    if content == "empty":
        database.write_bytes(b"")
    if content == "locked":
        holder.execute("BEGIN EXCLUSIVE")
    before = sorted(path.name for path in tmp_path.iterdir())
    with contextlib.closing(holder):
        assert not is_beyond_use(database, timeout_s=0.05)
    put_aside_if_broken(database)
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".db") == [
        name for name in before if name.endswith(".db")
    ]


def test_garbage_is_told_in_a_folder_with_any_name(tmp_path, database):
    """SQLite takes a file's address, where some characters mean something else."""
    folder = tmp_path / "runs #1 50%41?"
    folder.mkdir()
    moved = database.rename(folder / database.name)
    assert not is_beyond_use(moved)
    moved.write_bytes(os.urandom(4096))
    assert is_beyond_use(moved)


@pytest.mark.parametrize("is_header_whole", [False, True])
def test_garbage_is_kept_aside_with_what_lies_beside_it(
    tmp_path, database, capsys, is_header_whole
):
    """Its server makes a new one then; the line says where the old one is."""
    garbage = os.urandom(database.stat().st_size)
    kept = database.read_bytes()[:100] if is_header_whole else b""
    database.write_bytes(kept + garbage[len(kept) :])
    database.with_name("prefect.db-wal").write_bytes(b"x")
    assert is_beyond_use(database)
    put_aside_if_broken(database)
    assert not database.exists()
    (aside,) = tmp_path.glob("prefect.db.broken-*")
    assert len(list(tmp_path.glob("prefect.db-wal.broken-*"))) == 1
    assert str(aside) in capsys.readouterr().err


def test_a_server_whose_database_is_beyond_use_is_started_again(monkeypatch, database):
    """It would go on to answer every request with an error."""

    class Server:
        is_alive = True

        def poll(self):
            return None if self.is_alive else -9

        def kill(self):
            self.is_alive = False

        def wait(self):
            return -9

    monkeypatch.setattr(managed, "RESTART_CHECK_S", 0.0)
    started = []

    def start():
        started.append(1)
        api.stopping.set()
        return Server()

    database.write_bytes(os.urandom(database.stat().st_size))
    api = API("", Server(), start=start, database=database)
    api._keep_alive()
    assert started == [1]
