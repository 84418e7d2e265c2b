"""What a run may cost, as the clients see it: asked before something is made or sent, told of what arrived."""

from __future__ import annotations

from typing import Protocol


class Budget(Protocol):
    """Counts what a run makes and sends; any method may be called from any thread."""

    def take_things(self, n: int = ...) -> None:
        """Take things that are about to be registered.

        Raises:
            BudgetExceeded: they would be too many.
        """
        ...

    def take_messages(self, n: int = ...) -> None:
        """Take messages that are about to be published.

        Raises:
            BudgetExceeded: they would be too many.
        """
        ...

    def count_delivery(self) -> None:
        """Count a message that was delivered."""
        ...
