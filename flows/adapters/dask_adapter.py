"""Dask and distributed: configuration, clusters, workers, certificates and how a task is lost.

Imports no Prefect: compute nodes import this module too. Each name here has a test in
`tests/contracts/test_dask.py`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import dask
from distributed import Client, Future, LocalCluster, Worker
from distributed.client import FutureCancelledError
from distributed.comm.core import CommClosedError, connect
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.scheduler import KilledWorker, Scheduler
from distributed.security import Security

from training.system.private_folder import make_private_folder

__all__ = ["Client", "Future", "Scheduler", "Security"]

SCHEDULER_CONFIG: Mapping[str, Any] = {
    # A lost worker ends its task at once: the flow decides whether a scene starts again.
    "distributed.scheduler.allowed-failures": 0,
    # No task is queued on a busy worker, or it would be blamed for that worker's death.
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.http.routes": [],  # unencrypted pages that need no key
    # The last thousand messages, kept for debugging, have a scene's whole plan each.
    "distributed.admin.low-level-log-length": 20,
}
WORKER_CONFIG: Mapping[str, Any] = {
    # Workers wait hours for a trainer; sampling their stacks a hundred times a second costs CPU.
    "distributed.worker.profile.enabled": False,
    "distributed.worker.http.routes": [],
    # By default Dask gives its workers, and so the trainers, one thread and a heap that is trimmed
    # all the time, which cost a trainer 40 % of its time. What a trainer gets is the user's choice.
    "distributed.nanny.pre-spawn-environ": {},
}
CLOCKS_DIFFER = timedelta(days=1)
"""How far a machine's clock may be behind that of the flow."""
VALID_FOR = timedelta(days=365)
BUSY_WORKER_EXIT_S = 1.0
"""How long a busy local worker may take to close; Dask's own 4 s would delay every stop."""


def configured(*configs: Mapping[str, Any]) -> AbstractContextManager[Any]:
    """Apply Dask configuration while clusters or workers are created, which is when it is read.

    Their scratch folder is `private_scratch`.
    """
    merged = {key: value for config in configs for key, value in config.items()}
    merged["temporary-directory"] = str(private_scratch())
    return cast("AbstractContextManager[Any]", dask.config.set(merged))


def private_scratch() -> Path:
    """Return a folder for Dask's temporary files that no other user can write.

    Dask's own, /tmp/dask-scratch-space, is whoever's made it first. Schedulers, nannies and workers
    put a folder there first on their path of modules, and open locks that may be links.
    """
    folder = Path(tempfile.gettempdir(), f"training-scheduler-{os.getuid()}")
    try:
        return make_private_folder(folder)
    except OSError:  # planted
        return Path(tempfile.mkdtemp(prefix=f"{folder.name}-"))


class PromptLocalCluster(LocalCluster):
    """A LocalCluster that closes at once, whatever its workers do.

    Overrides a hook of SpecCluster, since LocalCluster takes no time limit for closing.
    """

    async def _close(self) -> None:
        """Kill workers that are still busy after `BUSY_WORKER_EXIT_S`, then close (a hook)."""
        nannies = list(self.workers.values())
        await asyncio.gather(*(nanny.close(timeout=BUSY_WORKER_EXIT_S) for nanny in nannies))
        await super()._close()


def scheduler_address(cluster: Any) -> str:
    """Return the address of a cluster's scheduler, as in `tls://127.0.0.1:8786`."""
    return str(cluster.scheduler_address)


def submit(
    client: Client,
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    worker: str | None,
) -> Future[Any]:
    """Send a function to the worker at an address, or to any; equal calls run separately."""
    return client.submit(function, *args, pure=False, workers=worker, **kwargs)


def result_future(client: Client, future: Future[Any]) -> concurrent.futures.Future[Any]:
    """Return a standard future of a Dask future's result.

    Dask's own `result()` can't be waited for together with anything else: this one runs `gather`
    on the client's event loop, which only `loop.asyncio_loop` leads to.
    """
    loop: Any = client.loop
    coroutine = client.gather(future, asynchronous=True)
    return asyncio.run_coroutine_threadsafe(coroutine, loop.asyncio_loop)


LOSSES = (
    KilledWorker,
    FutureCancelledError,
    concurrent.futures.CancelledError,
    CommClosedError,
)
"""What `result_future` raises when the worker, the scheduler or the way to them was lost."""


def loss_message(error: Exception) -> str:
    """Describe one of `LOSSES`."""
    if isinstance(error, KilledWorker):
        return f"worker {error.last_worker.address} died while it ran this"
    return f"the Dask cluster gave this up: {error}"


def release(future: Future[Any]) -> None:
    """Make Dask forget a task: it would compute a kept result again when its worker is lost."""
    if future.done():
        future.release()
    else:
        future.cancel()


class QuietScheduler(Scheduler):
    """A scheduler without its web server, which would listen unencrypted beside it."""

    def start_http_server(self, *_: Any, **__: Any) -> None:
        """Start nothing (a hook; `dashboard=False` still opens the port)."""


SCHEDULER_LOST = "worker-handle-scheduler-connection-broken"
"""Why a worker closes whose scheduler has not told it to."""


class QuietWorker(Worker):
    """A worker without web server that calls `on_close` before it closes, for whatever reason.

    Except where its scheduler is lost and `on_loss` returns True: then it closes, and what it runs
    goes on in this process (`is_orphan`).
    """

    def __init__(
        self,
        *args: Any,
        on_close: Callable[[], None],
        on_loss: Callable[[], bool] = lambda: False,
        **settings: Any,
    ) -> None:
        super().__init__(*args, **settings)
        self._on_close, self._on_loss = on_close, on_loss
        self._is_told = False
        self.is_orphan = False

    def start_http_server(self, *_: Any, **__: Any) -> None:
        """Start nothing (a hook): it would listen unencrypted."""

    async def close(  # type: ignore[override]  # Dask's own override, too
        self, *args: Any, **settings: Any
    ) -> str | None:
        """Call `on_loss` or `on_close`, then close (a hook; it is called again meanwhile)."""
        if not self._is_told:
            self._is_told = True
            is_lost = settings.get("reason") == SCHEDULER_LOST
            self.is_orphan = is_lost and self._on_loss()
        if self.is_orphan:
            settings["executor_wait"] = False
        else:
            self._on_close()
        return await super().close(*args, **settings)

    def run_ahead(self, function: Callable[[], None]) -> None:
        """Run a function on the thread that will run tasks, while the worker joins the flow."""
        self.executors["default"].submit(function)

    async def work(self) -> None:
        """Work until closed; raises OSError or TimeoutError when the scheduler can't be reached."""
        async with self:
            await self.finished()


WorkerCame = Callable[[str, str, Mapping[str, Any]], bool]
"""Called with name, address and startup information of a new worker; False closes the worker."""
WorkerLeft = Callable[[str], None]
"""Called with the name of a worker that has closed or is lost."""


class WorkerEvents(SchedulerPlugin):
    """Reports workers by name as they come and go; called on the scheduler's event loop."""

    name = "worker-events"

    def __init__(self, came: WorkerCame, left: WorkerLeft) -> None:
        self._came, self._left = came, left
        self._names: dict[str, str] = {}

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        """Report a new worker; close it when it is not wanted."""
        state = scheduler.workers[worker]
        if self._came(str(state.name), worker, dict(state.extra)):
            self._names[worker] = str(state.name)
        else:
            scheduler.close_worker(worker)

    def remove_worker(self, scheduler: Scheduler, worker: str, **_: Any) -> None:  # noqa: ARG002  # Dask names it
        """Report that a worker is gone; only its address is known by now."""
        if name := self._names.pop(worker, ""):
            self._left(name)


def close_worker(scheduler: Scheduler, name: str) -> None:
    """Ask the worker of a name to close, if there is one."""
    if address := scheduler.aliases.get(name):
        scheduler.close_worker(address)


def new_certificates() -> dict[str, str]:
    """Return a new self-signed pair in PEM: `ca_file` (the certificate again), `cert`, `key`.

    Dask's own, by `Security.temporary`, begin to be valid now: a node whose clock is a second
    behind would refuse them, and with them the scheduler.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, moment = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "dask-internal")])
    names = x509.SubjectAlternativeName([x509.DNSName("dask-internal")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.add_extension(names, critical=False)
    builder = builder.not_valid_before(moment - CLOCKS_DIFFER)
    certificate = builder.not_valid_after(moment + VALID_FOR).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    no_password = serialization.NoEncryption()
    key_text = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, no_password).decode()
    text = certificate.public_bytes(pem).decode()
    return {"ca_file": text, "cert": text, "key": key_text}


def tls_security(ca_file: str, cert: str, key: str) -> Security:
    """Return security settings that speak TLS only, with the same pair at every end.

    The pair is given as files or as their texts.
    """
    ends = ("scheduler", "worker", "client")
    files = {f"tls_{end}_cert": cert for end in ends} | {f"tls_{end}_key": key for end in ends}
    return Security(tls_ca_file=ca_file, require_encryption=True, **files)


def temporary_security() -> Security:
    """Return security settings with a new pair that exists in memory only."""
    return tls_security(**new_certificates())


async def shake_hands(address: str, security: Security, timeout_s: float) -> None:
    """Connect to a scheduler as a worker would, and leave; raises OSError when that fails."""
    arguments: dict[str, Any] = security.get_connection_args("worker")
    comm = await cast("Awaitable[Any]", connect(address, timeout=timeout_s, **arguments))
    await comm.close()
