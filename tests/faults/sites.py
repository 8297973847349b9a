"""What is put into processes of ours to make a fault: texts of sitecustomize.py, and a clock.

They stand in for what no signal or command can make at the right moment or on this machine.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

KILL_IN = """
import importlib.machinery, os, signal, sys
MODULE, NAME, COUNT = os.environ["TS_TEST_KILL_IN"].split(":")
calls = []
def killing(function):
    import functools
    @functools.wraps(function)
    def call(*arguments, **more):
        calls.append(1)
        if len(calls) == int(COUNT):
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **more)
    return call
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name != MODULE:
            return None
        found = importlib.machinery.PathFinder.find_spec(name, path)
        execute = found.loader.exec_module
        def run(module):
            execute(module)
            owner = module
            *owners, last = NAME.split(".")
            for each in owners:
                owner = getattr(owner, each)
            setattr(owner, last, killing(getattr(owner, last)))
        found.loader.exec_module = run
        return found
sys.meta_path.insert(0, Finder())
"""
"""Kills a process at the COUNTth call of one function, TS_TEST_KILL_IN=module:function:COUNT."""

LISTING_LAGS = """
import os, pathlib
flag = pathlib.Path(os.environ["TS_TEST_LAG"])
def hidden(folder, name):
    try:
        since = flag.stat().st_mtime_ns
        return os.fspath(folder).endswith(".claim") and (
            os.stat(os.path.join(folder, name)).st_mtime_ns > since
        )
    except OSError:
        return False
scandir, listdir, link = os.scandir, os.listdir, os.link
class Entries(list):
    def __enter__(self):
        return self
    def __exit__(self, *_):
        return None
    def close(self):
        return None
def lagging_scandir(folder="."):
    if isinstance(folder, int) or not os.fspath(folder).endswith(".claim"):
        return scandir(folder)
    with scandir(folder) as found:
        return Entries(each for each in found if not hidden(folder, each.name))
def lagging_listdir(folder="."):
    found = listdir(folder)
    return found if isinstance(folder, int) else [e for e in found if not hidden(folder, e)]
def noted(taken):
    def call(source, target, **more):
        if "/.claim/" in os.fspath(target):
            with open(f"{flag}.tried", "a") as stream:
                stream.write(os.environ["TS_TEST_WAY"] + "\\n")
        return taken(source, target, **more)
    return call
os.scandir, os.listdir = lagging_scandir, lagging_listdir
os.link, os.replace = noted(link), noted(os.replace)
"""
"""While a file is there, listings of claims lack what is newer than it; who tries to take a claim
leaves a line."""

CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long shift(void) {
    static const char *folder; static char ahead[4096], behind[4096];
    if (!folder) {
        folder = getenv("TS_TEST_CLOCK");
        if (!folder) folder = "/nowhere";
        snprintf(ahead, sizeof ahead, "%s/ahead", folder);
        snprintf(behind, sizeof behind, "%s/behind", folder);
    }
    return !access(ahead, F_OK) ? 3600 : !access(behind, F_OK) ? -3600 : 0;
}
int clock_gettime(clockid_t id, struct timespec *t) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, t);
    if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) t->tv_sec += shift();
    return result;
}
int gettimeofday(struct timeval *restrict t, void *restrict zone) {
    static int (*real)(struct timeval *, void *);
    if (!real) real = dlsym(RTLD_NEXT, "gettimeofday");
    int result = real(t, zone);
    t->tv_sec += shift();
    return result;
}
time_t time(time_t *t) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (t) *t = now.tv_sec;
    return now.tv_sec;
}
"""
"""A library that sets the clock of the processes that load it an hour forward or back, while
`ahead` or `behind` is in a folder: nobody may set this machine's."""


def site(lab: Any, text: str) -> str:
    """Write a sitecustomize.py; return its folder, for PYTHONPATH."""
    folder = lab.root / "site"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(text)
    return str(folder)


def clock(folder: Path) -> dict[str, str]:
    """Build the library of a clock; return the environment that loads it, or skip."""
    folder.mkdir()
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    source, library = folder / "clock.c", folder / "clock.so"
    source.write_text(CLOCK.replace("snprintf", "snprintf"))
    command = [compiler, "-include", "stdio.h", "-shared", "-fPIC", "-o", library, source, "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return {"LD_PRELOAD": str(library), "TS_TEST_CLOCK": str(folder)}
