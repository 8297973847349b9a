"""The launcher, its core (plan, execute, records) and the trainer; imports neither Prefect nor Dask."""
