"""Adapters to the internals of Prefect, prefect-dask, Dask and dask-jobqueue.

Everything the flows use of these libraries that is private, undocumented, an overridden hook, or a
setting read at an unusual moment stands here, so an upgrade breaks one file and one named test in
`tests/contracts/`. Dask has no use elsewhere at all; Prefect's documented interface (`flow`,
`task`, states, `get_client`) is used directly.

This is the lowest layer of `flows`: modules here import nothing else of it. `dask_adapter` imports
no Prefect, because it is imported on compute nodes; `jobqueue_adapter` and `prefect_dask_adapter`
have clusters. Prefect has six modules, by who uses them: `prefect_adapter` for what runs inside a
flow, whose import configures logging; `prefect_client_adapter` (a silent server) and
`prefect_runs_adapter` (runs that are given a final state); `prefect_process_adapter` for server,
process worker and engine; `prefect_deploy_adapter`; `prefect_settings_adapter`. Start reading with
`prefect_adapter`.
"""
