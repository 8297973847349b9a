"""The task runner: Prefect's engine stays in the flow's process, only the work goes to Dask.

May use `flows.adapters`, `flows.server` and everything of `training`; knows nothing of Slurm
clusters (see `flows.slurm`). `tasks` and `local_cluster` import no Prefect: Dask workers import
them. Start with `task_runner`, then `dispatch` (which worker runs a task, and how it ends) and
`scene_events` (what the flow does when a scene starts and ends). How runs end: `final_state`,
`stop_signals`, `run_watch` (stopped in the UI), `dead_runs` and `silent_server`.
"""
