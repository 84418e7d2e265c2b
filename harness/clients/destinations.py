"""Destinations that a test makes for itself: where rules may post once the other side has confirmed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from harness.clients.waiting import PATIENCE, polled
from harness.errors import ExpectationError

if TYPE_CHECKING:
    from harness.clients.rules import Rules

Status = Literal["ENABLED", "IN_PROGRESS", "DISABLED", "ERROR"]

_NOT_YET: Final = "IN_PROGRESS"


class Destination:
    """A destination for HTTP actions.

    Args:
        arn: its ARN.
        url: its confirmation URL: rules may post to what begins with it.
        rules: calls AWS IoT.
        patience: seconds that the confirmation may take.
    """

    def __init__(self, arn: str, url: str, *, rules: Rules, patience: float = PATIENCE) -> None:
        self.arn = arn
        self.url = url
        self._rules = rules
        self._patience = patience

    async def status(self) -> Status:
        """Return its status now."""
        status: Status = (await self._described())["status"]
        return status

    async def enable(self) -> None:
        """Let rules post to it, after `disable`."""
        await self._rules.call("update_topic_rule_destination", arn=self.arn, status="ENABLED")

    async def disable(self) -> None:
        """Let no rule post to it."""
        await self._rules.call("update_topic_rule_destination", arn=self.arn, status="DISABLED")

    async def delete(self) -> None:
        """Delete it; without effect when that has happened."""
        await self._rules.remove_destination(self.arn)

    async def expect(self, status: Status) -> None:
        """Wait until it has a status.

        Raises:
            ExpectationError: it gets another one that lasts, or not this one in time; says why it failed.
        """
        __tracebackhide__ = True
        seen: dict[str, Any] = {}

        async def look() -> str | None:
            seen.update(await self._described())
            if status == "ENABLED" and seen["status"] == "DISABLED":
                await self.enable()  # confirmed, and to be switched on apart
                return None
            return None if seen["status"] == _NOT_YET != status else seen["status"]

        try:
            if await polled(look, within=self._patience) == status:
                return
        except TimeoutError:
            pass
        reason = f": {seen['statusReason']}" if seen.get("statusReason") else ""
        raise ExpectationError(
            f"the destination {self.url} was to become {status} within {self._patience:g} s, and is "
            f"{seen.get('status')}{reason}"
        )

    async def _described(self) -> dict[str, Any]:
        answer = await self._rules.call("get_topic_rule_destination", arn=self.arn)
        described: dict[str, Any] = answer["topicRuleDestination"]
        return described


async def make_destination(url: str, *, rules: Rules, patience: float = PATIENCE) -> Destination:
    """Create a destination, which asks the URL for confirmation; its status is another matter."""
    configuration = {"httpUrlConfiguration": {"confirmationUrl": url}}
    answer = await rules.call("create_topic_rule_destination", destinationConfiguration=configuration)
    return Destination(answer["topicRuleDestination"]["arn"], url, rules=rules, patience=patience)


async def destinations_at(url: str, *, rules: Rules) -> list[Destination]:
    """Return the destinations with a confirmation URL, whoever made them."""
    found: list[Destination] = []
    page: dict[str, Any] = {}
    while True:
        answer = await rules.call("list_topic_rule_destinations", **page)
        found += [
            Destination(each["arn"], url, rules=rules)
            for each in answer.get("destinationSummaries", [])
            if each.get("httpUrlSummary", {}).get("confirmationUrl") == url
        ]
        if not (token := answer.get("nextToken")):
            return found
        page = {"nextToken": token}
