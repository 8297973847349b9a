"""Side-by-side measurements: `python -m benchmarks` runs all and writes docs/performance.md.

Open `subject.py` first: a subject is what is measured together, in one module of its own, and its
variants are what is compared. `subjects.py` lists them, `runner.py` runs their variants in turn for
several rounds, each subject in a process of its own, `page.py` writes what came out. What subjects
share: `processes.py` (time and memory of commands), `scene_files.py`, `slurm/lab.py` (a private
Slurm) and `prefect_lab.py` (a Prefect server). The files that `--list` names as commands of their
own measure the trainer's quality, or need another machine.
"""
