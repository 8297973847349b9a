"""Slurm: scripts, submission, jobs, and what Slurm says of them."""
