"""Make Slurm's signals reach training/run.py when a shell stands between it and Slurm.

Slurm signals the batch script's process alone (proctrack/cgroup), or what `srun` has started. A
shell that waits for a command dies by the signal, and Slurm then kills the command at once. The
submitted copy of a script that does not replace its shell (`exec`) therefore gets a preamble: its
first process runs the script once more as a child, and sends the signals that it receives on to
the process that training/run.py has registered (`training.jobs.job_entry`). The same process can
start a job elsewhere that ended before training/run.py began, see `training.slurm.start_elsewhere`.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from training.slurm.batch_script import first_command_line
from training.slurm.script_commands import (
    FORWARDING_SHELLS,
    interpreter,
    launch_commands,
    trapped_signals,
)
from training.slurm.start_elsewhere import BEGAN, STAGES, STARTS, Elsewhere

SENT = {"TERM": "TERM", "INT": "TERM", "HUP": "TERM", "USR1": "USR1", "USR2": "USR1"}
"""What training/run.py is sent, by the signal that came: TERM stops, USR1 saves a checkpoint."""
PREAMBLE = """\
# Inserted by training/run.py: run the script as a child, and send signals on to training/run.py,
# since Slurm signals this shell alone; in arrays, also start a job elsewhere that could not begin.
ts_file={folder}/"${{SLURM_JOB_ID}}-${{SLURM_RESTART_COUNT:-0}}.entry"
case "${{2:-}}" in {stages}) ts_parent=yes ;; *) ts_parent=no ;; esac
if [ "$ts_parent" = yes ] && [ "${{TS_JOB_ENTRY:-}}" != "$ts_file" ]; then
  export TS_JOB_ENTRY="$ts_file"
  ts_told=no
  ts_runs() {{ # whether training/run.py, which got the plan $1, has registered and runs
    ts_entry=$(cat "$ts_file" 2>/dev/null) && grep -qFe "$1" "/proc/$ts_entry/cmdline" 2>/dev/null
  }}
{elsewhere}\
  ts_forward() {{ # signal $1 came: send $2 to training/run.py, and $1 to a script that traps it
    [ "$2" != TERM ] || ts_told=yes
    ts_script=${{!:-}}
    if [ -z "$ts_script" ]; then
      [ "$2" != TERM ] || exit 143
      return 0
    fi
    if ts_runs "$3"; then
      kill -s "$2" "$ts_entry" || :
    elif [ "$2" = TERM ]; then
      kill -s TERM "$ts_script" || :
    fi
    case " {trapped} " in *" $1 "*) kill -s "$1" "$ts_script" || : ;; esac
  }}
{traps}
  # After the traps: a signal that comes before they are set ends a job that has started nothing.
  "$0" "$@" &
  ts_script=$!
  ts_status=0
  wait "$ts_script" || ts_status=$?
  while kill -0 "$ts_script" 2>/dev/null; do
    ts_status=0
    wait "$ts_script" || ts_status=$?
  done
  while ts_runs "$3"; do sleep 1 || :; done
  rm -f "$ts_file"
{afterwards}\
  exit "$ts_status"
fi
# End of the inserted lines.
"""


ELSEWHERE = """\
  ts_starts={folder}/{starts} ts_began=${{ts_file%.entry}}.{began}
{function}"""
AFTERWARDS = """\
  if [ "$ts_status" != 0 ] && [ "$ts_told" = no ] && [ ! -e "$ts_began" ]; then
    case "${{2:-}}" in {stages}) ts_elsewhere "$3" || : ;; esac
  fi
  rm -f "$ts_began"
"""


def needs_forwarding(text: str, batch_signal: str = "") -> bool:
    """Return whether signals to the script's process do not reach training/run.py by themselves.

    `batch_signal`: what `--signal=B:` sends the script, without `SIG`; one that training/run.py
    takes for something else has to be translated.
    """
    launches = launch_commands(text)
    is_direct = bool(launches) and all(each.replaces_shell for each in launches)
    return not is_direct or SENT.get(batch_signal, batch_signal) != batch_signal


def can_forward(text: str) -> bool:
    """Return whether the script's interpreter is one that the preamble is written for."""
    return interpreter(text) in FORWARDING_SHELLS


def with_forwarding(
    text: str, folder: Path, batch_signal: str = "", elsewhere: Elsewhere | None = None
) -> str:
    """Return the script with the preamble before its first command, where it needs and takes one.

    `folder`: where the process registers; it must exist. `batch_signal`: see `needs_forwarding`.
    `elsewhere`: where given, jobs of arrays that end early are started on other nodes.
    """
    is_needed = needs_forwarding(text, batch_signal)
    if not (is_needed or elsewhere) or not can_forward(text):
        return text
    traps = "\n".join(
        f"""  trap 'ts_forward {came} {sent} "$3"' {came}""" for came, sent in SENT.items()
    )
    quoted = shlex.quote(str(folder))
    function, afterwards = _elsewhere(quoted, elsewhere) if elsewhere else ("", "")
    preamble = PREAMBLE.format(
        folder=quoted,
        stages="*" if is_needed else STAGES,
        elsewhere=function,
        trapped=" ".join(trapped_signals(text)),
        traps=traps,
        afterwards=afterwards,
    )
    lines = text.splitlines(keepends=True)
    before = first_command_line(text) - 1
    return "".join([*lines[:before], preamble, *lines[before:]])


def _elsewhere(quoted_folder: str, elsewhere: Elsewhere) -> tuple[str, str]:
    """Return the preamble's function that starts a job elsewhere, and the lines that call it."""
    function = elsewhere.function()
    first = ELSEWHERE.format(folder=quoted_folder, starts=STARTS, began=BEGAN, function=function)
    return first, AFTERWARDS.format(stages=STAGES)
