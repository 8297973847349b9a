"""Lines of shell that start a job elsewhere which ended before training/run.py could begin.

Where python itself does not start on a node, only the job's shell can act. It leaves a file for the
node, excludes all such nodes from what its array has in the queue, and requeues the job. Slurm
changes the excluded nodes of pending jobs alone, and a requeued job is pending as soon as its
processes are told to end. Where nothing has begun anywhere and several nodes agree, or Slurm has
no other node, the job ends as it did: no node is at fault, or none is left.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

STARTS = "starts"
"""Folder beside a plan's job logs, with the files below."""
BEGAN = "began"
"""Exists once training/run.py has begun in a job of the plan; with a job's own name before it, in
that job."""
FAILED, BAD = "failed", "bad"
"""Suffixes of a node's file: a job ended there early; by now one has begun elsewhere."""
STAGES = "array|aggregate"
"""What jobs do that Slurm may requeue; a flow replaces its own."""
AGREEING_NODES = 3
MOST_RESTARTS = 10
WAIT_S = 20
"""How long the last of agreeing nodes waits for other jobs to begin."""
HOLD_S = 120
"""How long a bad node holds a job that can't be requeued, so that it takes others more slowly."""
FUNCTION = """\
  ts_elsewhere() {{ # training/run.py, given the plan $1, did not begin: start this job elsewhere
    [ -n "${{SLURMD_NODENAME:-}}" ] && [ ! -e "${{1%.json}}.cancelled" ] || return 0
    ts_all=${{SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}}
    ts_id=$ts_all${{SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}}
    mkdir -p "$ts_starts" && echo "$ts_id" >"$ts_starts/$SLURMD_NODENAME.{FAILED}" || return 0
    ts_nodes={exclude} ts_count=0
    for ts_node in "$ts_starts"/*.{FAILED} "$ts_starts"/*.{BAD}; do
      [ -e "$ts_node" ] || continue
      ts_node=${{ts_node##*/}} ts_count=$((ts_count + 1))
      ts_nodes=$ts_nodes${{ts_nodes:+,}}${{ts_node%.*}}
    done
    if [ "$ts_count" -ge {AGREEING_NODES} ]; then # elsewhere a job may begin at this moment
      ts_waited=0
      until [ -e "$ts_starts/{BEGAN}" ] || [ -e "$ts_starts/hopeless" ]; do
        [ "$ts_waited" -lt {WAIT_S} ] || break
        [ "$(squeue -h -t RUNNING -j "$ts_all" -o %i 2>/dev/null | wc -l)" -gt 1 ] || break
        sleep 2
        ts_waited=$((ts_waited + 2))
      done
      [ -e "$ts_starts/{BEGAN}" ] || {{ : >"$ts_starts/hopeless"; return 0; }}
    fi
    [ "${{SLURM_RESTART_COUNT:-0}}" -lt {MOST_RESTARTS} ] || return 0
    ts_answer=$(
      for ts_name in $(env | sed -n 's/^\\(S[LB][A-Z]*_[A-Za-z0-9_]*\\)=.*/\\1/p'); do
        [ "$ts_name" = SLURM_CONF ] || unset "$ts_name"
      done
      sbatch --test-only {options} --exclude="$ts_nodes" "$0" 2>&1
    ) || :
    case "$ts_answer" in *"configuration is not available"*) return 0 ;; esac
    [ "$ts_told" = no ] || return 0
    trap '' TERM INT HUP # sent as this run of the job is ended
    if scontrol requeue "$ts_id"; then
      scontrol update JobId="$ts_all" ExcNodeList="$ts_nodes" >/dev/null 2>&1 ||
        scontrol update JobId="$ts_id" ExcNodeList="$ts_nodes" || :
      echo "nothing began on $SLURMD_NODENAME: this job is started again on another node"
    else
      trap - TERM INT HUP
      sleep {HOLD_S}
    fi
  }}
"""


@dataclass(frozen=True)
class Elsewhere:
    """What a job's shell must know to start it elsewhere."""

    exclude: str
    """The nodes that the job excludes already, as `--exclude` takes them; empty without any."""
    options: Sequence[str]
    """The options of sbatch that say what the job needs, beside its script's."""

    def function(self) -> str:
        """Return the shell function `ts_elsewhere`; `$ts_starts` is the folder of the files."""
        return FUNCTION.format(
            exclude=shlex.quote(self.exclude),
            options=shlex.join(self.options),
            FAILED=FAILED,
            BAD=BAD,
            BEGAN=BEGAN,
            AGREEING_NODES=AGREEING_NODES,
            MOST_RESTARTS=MOST_RESTARTS,
            WAIT_S=WAIT_S,
            HOLD_S=HOLD_S,
        )
