"""A real Slurm of one's own on this host: several logical nodes, fake GPUs, no systemd.

`up` and `down` are all that a script needs; `Cluster` is the handle that tests hold.
Only the standard library is used, so that it also runs before anything is installed.
"""

from private_slurm.cluster import Cluster
from private_slurm.leftovers import clear
from private_slurm.lifecycle import default_folder, down, up
from private_slurm.requirements import missing

__all__ = ["Cluster", "clear", "default_folder", "down", "missing", "up"]
