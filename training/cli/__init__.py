"""The command line of launcher and flow: its options, and the commands that look at an experiment.

`parser.py` builds every command line from an options model; `experiment_commands.py` does --status,
--watch, --logs and --cancel, `experiment_subcommands.py` offers them as commands of their own.
`experiment_list.py` and `scene_list.py` list what there is. May use everything below it in
`training`, nothing of `flows`. Open `experiment_commands.py` first.
"""
