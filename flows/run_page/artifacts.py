"""Publish artifacts of one flow run on Prefect's server: created once, then changed in place."""

from __future__ import annotations

from uuid import UUID

from prefect import get_client

from flows.adapters.prefect_adapter import (
    create_artifact,
    find_artifact,
    replace_artifact_data,
)

ANSWER_S = 15.0
"""How long the server may take to answer."""


class Artifacts:
    """The artifacts that one flow run has published; not thread-safe."""

    def __init__(self, flow_run_id: UUID) -> None:
        self._flow_run_id = flow_run_id
        self._made: dict[str, UUID] = {}
        self._shown: dict[str, str] = {}

    def show(self, key: str, kind: str, description: str, data: str) -> None:
        """Create or change the artifact with this key; send nothing if it shows `data` already.

        A retried flow run changes those that its former attempt made. Raises whatever Prefect's
        client raises.
        """
        if self._shown.get(key) == data:
            return
        with get_client({"timeout": ANSWER_S}, sync_client=True) as client:
            # The server changes the latest artifact of the key along with it.
            known = self._made.get(key) or find_artifact(client, self._flow_run_id, key)
            if known is None or not replace_artifact_data(client, known, data):
                known = create_artifact(
                    client,
                    flow_run_id=self._flow_run_id,
                    key=key,
                    type=kind,
                    description=description,
                    data=data,
                )
            self._made[key] = known
        self._shown[key] = data

    def add(self, task_run_id: UUID, description: str, data: str) -> None:
        """Create a Markdown artifact on the page of a task run; raises as `show` does."""
        with get_client({"timeout": ANSWER_S}, sync_client=True) as client:
            create_artifact(
                client, task_run_id=task_run_id, type="markdown", description=description, data=data
            )
