"""The program of a starter: import what a script imports, then fork a process for each scene.

`python starter.py FD`: FD is a Unix socket. Each request is one byte with three descriptors: a file
with the request as JSON, the scene's log, and a socket for the answer. The answer is one line of
JSON: `pid` of the process that runs the scene; `renew`, why another starter must be asked; `cold`,
why none can. The scene's process is orphaned on purpose, so that it becomes a child of the
supervisor, which adopts orphans. The starter ends when its supervisor does.

What is in `sys.modules` here is there in the script's process, too: no module of this project's is
left in it, nor of any package, and a script imports its own modules from its own sources.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

CHECKOUT = str(Path(__file__).parents[3])

if __name__ == "__main__":
    sys.path.insert(0, CHECKOUT)

from training.execution.warm_start.imports_ahead import (  # noqa: E402
    ImportsAhead,
    UnwarmableError,
    check_script,
)
from training.execution.warm_start.script_process import (  # noqa: E402
    Request,
    prepare,
    run_script,
)

if __name__ == "__main__":
    sys.path.remove(CHECKOUT)
    for name in [each for each in sys.modules if each.partition(".")[0] == "training"]:
        del sys.modules[name]

PR_SET_PDEATHSIG = 1
ORPHANED_WITHIN_S = 30
FRESH = {name: value for name, value in globals().items() if name.startswith("__")}
"""What `__main__` holds in a fresh interpreter before its script runs: `__builtins__` and such."""
libc = ctypes.CDLL(None)


def main() -> None:
    """Serve requests; in the process of a scene run its script, and end as it does."""
    control = socket.socket(fileno=int(sys.argv[1]))
    known = frozenset(sys.modules)
    imports = ImportsAhead()
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, 1, 3)
        if not data:
            os._exit(0)
        content, log, answer = descriptors
        with os.fdopen(content, "rb") as stream:
            request: Request = json.loads(stream.read())
        with socket.socket(fileno=answer) as reply_socket:
            is_of_scene = _serve(imports, request, reply_socket)
        if is_of_scene:
            break
        os.close(log)
    control.close()
    _write_output_to(log)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    run_script(request, FRESH, known)


def _serve(imports: ImportsAhead, request: Request, reply_socket: socket.socket) -> bool:
    """Answer a request; return True in the process that is to run the scene."""
    try:
        if reason := imports.why_not(request):
            _reply(reply_socket, request, renew=reason)
            return False
        check_script(request["argv"][1])
        if imports.request is None:
            imports.take(request, FRESH)
        if not _fork_orphan(reply_socket, request):
            return False
    except UnwarmableError as problem:
        _reply(reply_socket, request, cold=problem.reason, module=problem.module)
        return False
    except BaseException as problem:  # noqa: BLE001 - SystemExit at an import, too
        _reply(reply_socket, request, cold=f"importing ahead ends with {problem!r}", module="")
        return False
    os.close(imports.output)
    prepare(request, imports.own_variables, imports.changed)
    _reply(reply_socket, request, pid=os.getpid())
    return True


def _reply(reply_socket: socket.socket, request: Request, **answer: Any) -> None:
    """Answer, and wake the supervisor, which waits for signals."""
    reply_socket.sendall(json.dumps(answer).encode() + b"\n")
    os.kill(request["supervisor"], signal.SIGCHLD)


def _fork_orphan(reply_socket: socket.socket, request: Request) -> bool:
    """Fork a process whose parent is the supervisor; return True in it, False here.

    Raises OSError where there can't be another process.
    """
    supervisor: int = request["supervisor"]
    between = os.fork()
    if between:
        os.waitpid(between, 0)
        return False
    own = os.getpid()
    try:
        if os.fork():
            os._exit(0)
    except OSError as error:
        _reply(reply_socket, request, cold=str(error), module="")
        os._exit(0)
    deadline = time.monotonic() + ORPHANED_WITHIN_S
    while os.getppid() == own and time.monotonic() < deadline:
        time.sleep(0.0002)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != supervisor:  # it died before we asked the kernel to tell us
        os._exit(0)
    return True


def _write_output_to(log: int) -> None:
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


if __name__ == "__main__":
    main()
