"""Many short scenes on a private Slurm: ours beside other ways to run them.

`makespan.py` measures; open it first. `contenders.py` has the command of each contender, `peers/`
the programs that use other libraries as their documentation says, `scene.py` is the scene that all
of them run, `lab.py` the private Slurm with its calls counted.
"""
