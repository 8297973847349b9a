"""What a private Slurm needs of the machine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
# packages of Debian and Ubuntu, and the program that each brings
PACKAGES = {"slurm-wlm": "slurmctld", "munge": "munged"}
ACCOUNTING_PACKAGES = {"slurmdbd": "slurmdbd", "mariadb-server": "mariadb-install-db"}
DATABASE_PLUGIN = "*/slurm*/accounting_storage_mysql.so"


def missing(*, accounting: bool) -> str:
    """One line: what this machine lacks for a private Slurm, and the remedy; empty if nothing."""
    packages = missing_packages(accounting=accounting)
    if packages:
        names = " ".join(packages)
        return (
            f"a private Slurm needs packages that are not installed: {names} (as root: "
            f"apt-get update && apt-get install -y --no-install-recommends {names})"
        )
    if os.geteuid() != 0:
        return "a private Slurm needs root, and this is another user: its daemons start jobs"
    return ""


def missing_packages(*, accounting: bool) -> list[str]:
    programs = {**PACKAGES, **(ACCOUNTING_PACKAGES if accounting else {})}
    packages = [name for name, program in programs.items() if not shutil.which(program, path=PATH)]
    if accounting and not any(Path("/usr/lib").glob(DATABASE_PLUGIN)):
        packages.append("slurm-wlm-mysql-plugin")
    return packages
