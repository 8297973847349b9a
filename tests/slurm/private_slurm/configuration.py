"""The configuration files of a private cluster, as text.

Options: man pages of slurm.conf, gres.conf, cgroup.conf and slurmdbd.conf (Slurm 22.05).
"""

from __future__ import annotations

import sys
from pathlib import Path

from private_slurm.layout import Layout

GPUS = 2
ACCOUNT = "lab"
"""With accounting the one account, and root's by default."""
URGENT = "urgent"
"""The partition whose jobs preempt others."""
CGROUPS = Path("/sys/fs/cgroup")

SLURM = """\
ClusterName=private
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# credentials that expire early also let a requeued job start early
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/controller
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/pid/slurmctld
SlurmdPidFile={folder}/pid/slurmd-%n
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
ProctrackType=proctrack/{process_tracking}
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
MpiDefault=none
SwitchType=switch/none
PropagateResourceLimits=NONE
# what the nodes declare wins over what this one host has, so that several jobs run at once
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=256
GresTypes=gpu
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1,bf_continue
# times short enough for tests
SlurmctldTimeout=10
SlurmdTimeout=10
InactiveLimit=0
KillWait=2
WaitTime=1
MinJobAge=300
CompleteWait=0
ReturnToService=2
JobRequeue=1
# a job in the partition `urgent` takes the place of one in the default partition
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobs.txt
"""

NO_ACCOUNTING = "AccountingStorageType=accounting_storage/none\n"
ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageTRES=gres/gpu
# an account and a quality of service that are not there are refused
AccountingStorageEnforce=associations,qos
AccountingStorageHost=127.0.0.1
AccountingStoragePass={folder}/munge/socket
AccountingStoragePort={accounting_port}
"""

# the database has no port: its socket is in the cluster's folder (MYSQL_UNIX_PORT), root's alone
SLURMDBD = """\
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={accounting_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
PidFile={folder}/pid/slurmdbd
LogFile={folder}/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm
"""

CGROUP = f"CgroupPlugin=cgroup/v1\nCgroupAutomount=no\nCgroupMountpoint={CGROUPS}\n"

EPILOG = """\
#!/bin/sh
PYTHONPATH='{package}' exec '{python}' -m private_slurm.epilog
"""


def values(layout: Layout) -> dict[str, object]:
    """What the texts above take from a layout."""
    return {
        "folder": layout.folder,
        "host": layout.host,
        "port": layout.port,
        "accounting_port": layout.accounting_port,
        "process_tracking": layout.process_tracking,
        "package": Path(__file__).resolve().parent.parent,
        "python": sys.executable,
    }


def node_lines(layout: Layout) -> str:
    """Eight CPUs and two GPUs each; the memory is this host's, declared by every node."""
    lines = [f"NodeName=DEFAULT CPUs=8 RealMemory=16000 Gres=gpu:{GPUS} State=UNKNOWN"]
    lines += [
        f"NodeName={name} NodeHostname={layout.host} NodeAddr=127.0.0.1 Port={port}"
        for name, port in layout.nodes.items()
    ]
    nodes = ",".join(layout.nodes)
    lines += [f"PartitionName=gpu Nodes={nodes} Default=YES MaxTime=INFINITE PriorityTier=1"]
    lines += [f"PartitionName={URGENT} Nodes={nodes} MaxTime=INFINITE PriorityTier=2"]
    return "\n".join([*lines, ""])


def files(layout: Layout) -> dict[str, str]:
    """Name and text of each file in the cluster's folder."""
    parts = [SLURM, ACCOUNTING if layout.accounting else NO_ACCOUNTING]
    if layout.process_tracking != "cgroup":
        parts.append("Epilog={folder}/epilog\n")
    fields = values(layout)
    gres = "NodeName={nodes} Name=gpu File={folder}/gpu/nvidia[0-{last}]\n"
    return {
        "slurm.conf": "".join(parts).format(**fields) + node_lines(layout),
        "gres.conf": gres.format(nodes=",".join(layout.nodes), last=GPUS - 1, **fields),
        "cgroup.conf": CGROUP,
        "slurmdbd.conf": SLURMDBD.format(**fields),
        "epilog": EPILOG.format(**fields),
    }
