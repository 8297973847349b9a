"""The launcher, its core (plan, execute, records) and the trainer; no Prefect, no Dask."""
