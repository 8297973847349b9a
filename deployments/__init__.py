"""What users start: the console command, and the flow in Prefect's UI.

`console` holds the command `training-scheduler`, all of whose subcommands live elsewhere.
`prefect.yaml` says what the UI offers. `serve` is where to start: it brings up a server, deploys
and runs the process worker (`process_worker`), which executes each flow run in a process of its own
(`engine`; `spare_engine` is one started beforehand). `check` finds the faults of `prefect.yaml`
without Prefect. `deploy` brings a server up to date by `api_client`: `edits` decides what stays as
people have edited it, `request` is what the server is sent, `pools` are the work pools.
`scene_menus` keeps the forms' menus current. `crash_automation` and `orphaned_runs` end runs whose
process died.
This package may use `flows` and everything below; nothing imports it.
"""

POOL = "training"
"""The work pool whose runs our process worker executes."""
PROCESS_WORKER_READY = "is waiting for runs"
"""What the process worker prints when it has started."""
ENGINE = "deployments.engine"
"""The module that a flow run's process executes."""
NO_SPARE = "--no-spare-engine"
"""The option of `serve` and the process worker that starts each run in a new process."""
