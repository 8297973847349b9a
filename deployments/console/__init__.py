"""The console command `training-scheduler`, above all other modules.

Open `subcommands.py` first: the table of subcommands, each with the function that `command.py`
imports and calls when it is typed. `completion.py` answers a shell's Tab, with words from
`completion_words.py` and without the heavy imports of the commands themselves; `version.py` does
--version. May use everything; nothing imports it.
"""
