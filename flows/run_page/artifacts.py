"""Publish artifacts of one flow run on Prefect's server: created once, then changed in place."""

from __future__ import annotations

import http
from uuid import UUID

import httpx
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import ArtifactCreate

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
            if not self._changed(client, key, data):
                self._made[key] = self._new(client, key, kind, description, data)
        self._shown[key] = data

    def _new(
        self, client: SyncPrefectClient, key: str, kind: str, description: str, data: str
    ) -> UUID:
        artifact = ArtifactCreate(
            key=key, type=kind, description=description, data=data, flow_run_id=self._flow_run_id
        )
        return client.create_artifact(artifact).id

    def _changed(self, client: SyncPrefectClient, key: str, data: str) -> bool:
        """Change the artifact; return False if there is none to change.

        The server changes the latest artifact of its key along with it. Prefect's own
        `update_artifact` would also send an event with the whole content, which the server keeps.
        """
        if key not in self._made:
            return False
        try:
            path = {"id": self._made[key]}
            client.request("PATCH", "/artifacts/{id}", path_params=path, json={"data": data})
        except httpx.HTTPStatusError as error:
            if error.response.status_code == http.HTTPStatus.NOT_FOUND:
                return False
            raise
        return True
