"""What a run may make and send, and that it ends there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.budget import Budget
from harness.errors import BudgetExceeded, HarnessError


def test_a_budget_is_spent_to_the_last() -> None:
    """And not beyond: the error names the option that raises it."""
    budget = Budget(things=3, messages=2)

    budget.take_things(2)
    budget.take_things()
    budget.take_messages(2)

    with pytest.raises(BudgetExceeded, match=r"may have 3 things and no more: if it needs them, raise --max-things"):
        budget.take_things()
    with pytest.raises(BudgetExceeded, match=r"may have 2 messages and no more: if it needs them, raise --max-mess"):
        budget.take_messages()


def test_what_is_refused_is_not_taken() -> None:
    """Whoever asks for less may still have it."""
    budget = Budget(things=2, messages=0)

    with pytest.raises(BudgetExceeded) as failure:
        budget.take_things(3)
    budget.take_things(2)

    assert (failure.value.what, failure.value.limit, failure.value.option) == ("things", 2, "--max-things")
    assert isinstance(failure.value, HarnessError)


def test_a_delivery_counts_and_is_never_refused() -> None:
    """It has happened; who publishes next is told."""
    budget = Budget(things=0, messages=2)

    budget.take_messages()
    for _ in range(3):
        budget.count_delivery()

    with pytest.raises(BudgetExceeded, match="2 messages"):
        budget.take_messages()


def test_many_threads_take_no_more_than_there_is() -> None:
    """Each thing is given once."""
    budget = Budget(things=100, messages=0)

    def take(_: int) -> bool:
        try:
            budget.take_things()
        except BudgetExceeded:
            return False
        return True

    with ThreadPoolExecutor(max_workers=8) as threads:
        assert sum(threads.map(take, range(400))) == 100


@pytest.mark.parametrize(
    ("things", "messages", "expected"),
    [
        (200, 20_000, "at most 200 things (--max-things) and 20,000 messages (--max-messages): up to about 0.10 USD"),
        (1, 1, "at most 1 things (--max-things) and 1 messages (--max-messages): up to about 0.01 USD"),
        (0, 0, "at most 0 things (--max-things) and 0 messages (--max-messages): up to about 0.01 USD"),
        (10_000, 50_000_000, "and 50,000,000 messages (--max-messages): up to about 100.00 USD"),
    ],
)
def test_the_line_gives_an_order_of_cost(things: int, messages: int, expected: str) -> None:
    """A power of ten, and a cent at least."""
    assert expected in Budget(things=things, messages=messages).line()
