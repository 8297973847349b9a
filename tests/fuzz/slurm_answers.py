"""What Slurm's commands answer, and a way to have them answer something else."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from unittest.mock import patch

from training.slurm import client, parsers

QUEUED = {
    "JobArrayID": "12_3",
    "JobID": "15",
    "ArrayJobID": "12",
    "ArrayTaskID": "3",
    "Name": "exp",
    "State": "RUNNING",
    "Reason": "None",
    "NodeList": "n1",
    "TimeUsed": "1-02:03:04",
    "TimeLeft": "5:00",
    "exit_code": "0",
    "StartTime": "2026-11-30T20:00:00",
    "EndTime": "2026-11-30T21:00:00",
    "Command": "/state/plans/p.slurm --in-job array /state/plans/exp-1.json 0",
}
ACCOUNT = "12_3|CANCELLED by 1000|0:15|n1|2026-11-30T20:00:00|2026-11-30T21:00:00"
COMPLETION = (
    "JobId=15 UserId=root(0) GroupId=root(0) Name=exp JobState=COMPLETED Partition=main"
    " TimeLimit=60 StartTime=2026-11-30T20:00:00 EndTime=2026-11-30T21:00:00 NodeList=n1"
    " NodeCnt=1 ArrayJobId=12 ArrayTaskId=3 ExitCode=0:0"
)
CONFIGURATION = (
    "MaxArraySize            = 1001\nAccountingStorageType   = accounting_storage/slurmdbd\n"
    "JobCompType             = jobcomp/filetxt\nJobCompLoc              = /var/log/done.txt\n"
)
OLDER = "  12_3  main exp root R 1:00 1 n1\n"
"""As squeue prints it without --Format."""


def queue_line(**given: str) -> str:
    """Return a line of squeue's answer to the client."""
    return "".join(f"{value}{parsers.SEPARATOR}" for value in {**QUEUED, **given}.values())


@contextlib.contextmanager
def answering(answer: str, status: int = 0, message: str = "") -> Iterator[None]:
    """Have every command of Slurm give one answer."""

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, status, answer, message)

    client._read_configuration.cache_clear()
    with patch.object(client.subprocess, "run", run):
        yield
    client._read_configuration.cache_clear()
