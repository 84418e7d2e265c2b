"""One message, with what a test wants to be different about it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from harness.iot.rules import RuleMessage

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def make_message() -> Callable[..., RuleMessage]:
    """Make messages; their new UUIDs are ``uuid-1``, ``uuid-2`` and so on."""

    def make(payload: bytes | str = b"{}", **more: Any) -> RuleMessage:
        numbers = itertools.count(1)
        facts: dict[str, Any] = {
            "topic": "things/telemetry",
            "timestamp": 1_795_291_262_123,
            "make_uuid": lambda: f"uuid-{next(numbers)}",
            "account_id": "123456789012",
            "client_id": "d-1",
            "trace_id": "7e146a2c-0000-4000-8000-000000000001",
        }
        return RuleMessage(payload=payload.encode() if isinstance(payload, str) else payload, **(facts | more))

    return make
