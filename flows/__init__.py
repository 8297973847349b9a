"""Prefect, thin: the flow that trains scenes, its task runner, and what both stand on."""
