"""Start trainers from a process that has imported already what they import.

A *starter* is a child of a supervisor. It imports what a script imports, and for each scene forks a
process that runs the script as a fresh interpreter would. `starter.py` is that process's program
and uses the standard library alone; `warm_trainer.py` asks it from the supervisor's side.
May use `trainer_process`, `plan` and `system`.
"""
