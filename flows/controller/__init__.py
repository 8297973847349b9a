"""A flow that runs in a small Slurm job of its own, so that it outlives the machine it came from.

`submit` plans nothing: it is given plans, checks what only a job needs, keeps all that the job
reads, and submits it; `hand_over` does so for a run of Prefect's form. In the job `job` starts the
flow (`flows.controlled_flow`) as a child, queues the job again at its end, and ends itself where a
later start has taken over. `settings` keeps what is secret for it; `continued` makes the plans of a
later start.

May use everything of `flows` below `plan_tasks`, and all of `training`. Start reading with
`submit`.
"""
