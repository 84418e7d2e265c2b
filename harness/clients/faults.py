"""Things that go wrong on purpose, at targets that can make them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from harness.clients.admin import AdminApi

MAIN_RECEIVER: Final = "main"
"""The stack's receiver, which all tests of a run share."""


class Faults:
    """Makes a target do what a test wants its clients to survive.

    Args:
        admin: the target's admin API.
    """

    def __init__(self, admin: AdminApi) -> None:
        self._admin = admin
        self._lasting: list[str] = []
        self._is_main_stopped = False

    async def expire_credentials(self, access_key_id: str) -> None:
        """Let temporary credentials expire now; connections they opened stay, as on AWS."""
        await self._set(kind="expire_credentials", access_key_id=access_key_id)

    async def disconnect(self, client_id: str) -> None:
        """Close a client's connection without a word, as a broken network does."""
        await self._set(kind="disconnect", client_id=client_id)

    async def fail_call(
        self,
        service: str,
        operation: str,
        *,
        code: str,
        times: int = 1,
        contains: str | None = None,
        status: int | None = None,
    ) -> None:
        """Let the next calls of an AWS operation fail; what is left of it ends with the test.

        Args:
            service: boto3's name, for example ``dynamodb``.
            operation: for example ``BatchWriteItem``, which the receiver writes rows with.
            code: AWS's name of the error, for example ``AccessDeniedException``. The receiver calls again by itself
                when it is throttled (``ProvisionedThroughputExceededException``), for as long as a try of its rule has.
            times: how many calls.
            contains: text in the request that marks those that fail, for example a device's name, so that a test
                fails its own calls; None means any. A call that writes rows of several tests fails for all of them.
            status: HTTP status of the answers; None leaves it to the target.
        """
        fault = {"service": service, "operation": operation, "code": code, "times": times, "contains": contains}
        answer = await self._set(kind="fail_call", **fault, **({} if status is None else {"status": status}))
        self._lasting.append(answer["fault_id"])

    async def stop_receiver(self, name: str = MAIN_RECEIVER, *, how: Literal["kill", "term"] = "kill") -> None:
        """End a receiver; returns once it accepts no connections.

        Args:
            name: `MAIN_RECEIVER` is back after the test.
            how: ``kill``, as a machine that is lost, or ``term``, as an orderly shutdown.
        """
        self._is_main_stopped = self._is_main_stopped or name == MAIN_RECEIVER
        await self._set(kind="stop_receiver", name=name, how=how)

    async def start_receiver(self, name: str = MAIN_RECEIVER) -> str:
        """Start a receiver that was stopped, or a further one; returns its URL once it accepts connections.

        Args:
            name: of one that was stopped, or a new one: lower-case letters, digits and hyphens.
        """
        url: str = (await self._set(kind="start_receiver", name=name))["url"]
        self._is_main_stopped = self._is_main_stopped and name != MAIN_RECEIVER
        return url

    async def freeze_receiver(self, name: str) -> None:
        """Let a receiver stand still: it accepts connections, as far as its machine does so for it, and no more.

        Args:
            name: of a further one; the stack's is everybody's.
        """
        await self._set(kind="freeze_receiver", name=name)

    async def thaw_receiver(self, name: str) -> None:
        """Let a receiver that stands still go on where it was, with all that was sent to it meanwhile."""
        await self._set(kind="thaw_receiver", name=name)

    async def clear(self) -> None:
        """End what this test has set and what would outlast it; faults of other tests stay."""
        while self._lasting:
            await asyncio.to_thread(self._admin.delete, "faults", fault_id=self._lasting.pop())
        if self._is_main_stopped:
            await self.start_receiver()

    async def _set(self, **fault: Any) -> dict[str, Any]:
        return await asyncio.to_thread(self._admin.post, "faults", fault)
