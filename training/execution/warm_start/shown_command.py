"""What `ps` and `/proc/PID/{cmdline,environ}` show of a process that did not begin by execve(2).

Uses the standard library alone, like all that `starter.py` runs.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

PR_SET_MM = 35
PR_SET_MM_MAP = 14
BEFORE_FIELDS = 3
"""Number of the first field in /proc/PID/stat after the command's bracket, from 1 as in proc(5)."""
ADDRESSES = {
    "start_code": 26,
    "end_code": 27,
    "start_data": 45,
    "end_data": 46,
    "start_brk": 47,
    "start_stack": 28,
}
"""Numbers of the fields that hold them."""


class MemoryMap(ctypes.Structure):
    """`struct prctl_mm_map` of Linux, see prctl(2), PR_SET_MM_MAP."""

    _fields_ = (
        *((name, ctypes.c_uint64) for name in ("start_code", "end_code", "start_data", "end_data")),
        *((name, ctypes.c_uint64) for name in ("start_brk", "brk", "start_stack")),
        *((name, ctypes.c_uint64) for name in ("arg_start", "arg_end", "env_start", "env_end")),
        ("auxv", ctypes.c_void_p),
        ("auxv_size", ctypes.c_uint32),
        ("exe_fd", ctypes.c_int32),
    )


def show_command(command: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Let the kernel show this command and environment; return False where it can't.

    That is a kernel without CONFIG_CHECKPOINT_RESTORE, and does no harm.
    """
    libc = ctypes.CDLL(None)
    stat = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace")
    fields = stat.rpartition(")")[2].split()
    found = {name: int(fields[number - BEFORE_FIELDS]) for name, number in ADDRESSES.items()}
    arguments = _kept(libc, command)
    variables = _kept(libc, [f"{name}={value}" for name, value in environ.items()])
    libc.sbrk.restype = ctypes.c_void_p
    memory = MemoryMap(**found, brk=libc.sbrk(0), exe_fd=-1)
    memory.arg_start, memory.arg_end = arguments
    memory.env_start, memory.env_end = variables
    size = ctypes.c_ulong(ctypes.sizeof(memory))
    return bool(libc.prctl(PR_SET_MM, PR_SET_MM_MAP, ctypes.byref(memory), size, 0) == 0)


def _kept(libc: ctypes.CDLL, texts: Sequence[str]) -> tuple[int, int]:
    """Copy texts, each with a zero byte, to memory that is never freed; return where it lies."""
    content = b"".join(os.fsencode(text) + b"\0" for text in texts)
    libc.malloc.restype = ctypes.c_void_p
    start = libc.malloc(len(content) + 1)
    ctypes.memmove(start, content, len(content))
    return start, start + len(content)
