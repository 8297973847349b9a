"""Publish artifacts of one flow run on Prefect's server: created once, then changed in place."""

from __future__ import annotations

from uuid import UUID

from prefect import get_client

from flows.adapters.prefect_adapter import create_artifact, replace_artifact_data

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

        Raises whatever Prefect's client raises.
        """
        if self._shown.get(key) == data:
            return
        with get_client({"timeout": ANSWER_S}, sync_client=True) as client:
            # The server changes the latest artifact of the key along with it.
            known = self._made.get(key)
            if known is None or not replace_artifact_data(client, known, data):
                self._made[key] = create_artifact(
                    client,
                    self._flow_run_id,
                    key=key,
                    kind=kind,
                    description=description,
                    data=data,
                )
        self._shown[key] = data
