"""Things that go wrong on purpose, at targets that can make them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.clients.admin import AdminApi


class Faults:
    """Makes a target do what a test wants its clients to survive.

    Args:
        admin: the target's admin API.
    """

    def __init__(self, admin: AdminApi) -> None:
        self._admin = admin

    async def expire_credentials(self, access_key_id: str) -> None:
        """Let temporary credentials expire now; connections they opened stay, as on AWS."""
        await self._set(kind="expire_credentials", access_key_id=access_key_id)

    async def disconnect(self, client_id: str) -> None:
        """Close a client's connection without a word, as a broken network does."""
        await self._set(kind="disconnect", client_id=client_id)

    async def _set(self, **fault: str) -> None:
        await asyncio.to_thread(self._admin.post, "faults", fault)
