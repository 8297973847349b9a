"""The console command `training-scheduler`, above all other packages.

Open `command.py` first: the table of subcommands, each the function of a module that is imported
when it is typed. `completion.py` answers a shell's Tab with `completion_words.py`, without the
heavy imports of the commands themselves; `version.py` does --version. May use everything; nothing
imports it.
"""
