"""Who may do something at the same time as others: so many per key, the others in order of arrival."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Places:
    """Gives out places, so many per key; whoever finds none waits for one of that key.

    Args:
        per_key: how many.
    """

    def __init__(self, per_key: int) -> None:
        self._per_key = per_key
        self._taken: dict[str, tuple[asyncio.Semaphore, list[None]]] = {}

    def __len__(self) -> int:
        """Count the keys that anybody has a place of, or waits for one."""
        return len(self._taken)

    @asynccontextmanager
    async def one(self, key: str) -> AsyncIterator[None]:
        """Wait for a place and hold it.

        Args:
            key: any text; remembered only while somebody is here with it.
        """
        semaphore, here = self._taken.setdefault(key, (asyncio.Semaphore(self._per_key), []))
        here.append(None)
        try:
            async with semaphore:
                yield
        finally:
            here.pop()
            if not here:
                del self._taken[key]
