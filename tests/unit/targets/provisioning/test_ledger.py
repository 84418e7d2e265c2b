"""The ledger: what one process writes, another reads after its death."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import ProvisioningError
from harness.targets.marks import find_mark
from harness.targets.provisioning.declared import Declared
from harness.targets.provisioning.ledger import Ledger, Noted, read_ledger
from harness.targets.provisioning.program import deploy
from harness.targets.provisioning.resources import make_resource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ROLE = "aws:iam/role:Role"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the ledger is."""
    return tmp_path / "ledger.jsonl"


@pytest.fixture
def ledger(file: Path) -> Iterator[Ledger]:
    """A ledger that is written to."""
    ledger = Ledger(file)
    yield ledger
    ledger.close()


def role(**inputs: Any) -> Declared:
    """Declare a role."""
    return Declared(type=ROLE, name="guest", inputs={"assumeRolePolicy": "{}", **inputs})


def test_what_was_made_is_read_in_order(ledger: Ledger, file: Path) -> None:
    """With its id once it has one; what was refused is not there."""
    first = ledger.announce("a", "first", {"name": "f"})
    second = ledger.announce("b", "second", {})
    third = ledger.announce("c", "thïrd", {"known": ["x"]})
    third.note_made("3")
    second.note_refused()
    assert (first.is_made, third.is_made) == (False, True)

    assert read_ledger(file) == [
        Noted(type="a", name="first", intent={"name": "f"}),
        Noted(type="c", name="thïrd", intent={"known": ["x"]}, id="3"),
    ]


def test_a_ledger_is_for_its_user_alone(ledger: Ledger, file: Path) -> None:
    """It is closed more than once without harm."""
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    ledger.close()
    ledger.close()


def test_every_beginning_of_a_ledger_can_be_read(ledger: Ledger, file: Path) -> None:
    """A process may die at any moment; half a line says nothing."""
    ledger.announce("a", "first", {"name": "f"}).note_made("1")
    ledger.announce("b", "second", {})
    whole = file.read_bytes()
    first_line = whole.index(b"\n") + 1

    for end in range(len(whole)):
        file.write_bytes(whole[:end])
        assert len(read_ledger(file)) == (0 if end < first_line else 1)


def test_there_may_be_no_ledger(tmp_path: Path) -> None:
    """A process that ended before it began has made nothing."""
    assert read_ledger(tmp_path / "missing") == []


def test_a_title_says_what_to_look_for() -> None:
    """The id, or what else finds it."""
    assert Noted(type="a", name="b", intent={"name": "n"}, id="i").title == "a b (i)"
    assert Noted(type="a", name="b", intent={"known": [], "url": "u"}).title == "a b (u)"
    assert Noted(type="a", name="b", intent={}).title == "a b"


def test_a_program_notes_what_it_makes(
    account: Any, make_program: Callable[[str], Path], ledger: Ledger, file: Path
) -> None:
    """Before it makes it, by the name it will have, and when it is made."""
    program = make_program(
        "import pulumi_aws as aws\n"
        "role = aws.iam.Role('guest', assume_role_policy='{}')\n"
        "aws.sqs.Queue('letters', tags={'arn': role.arn})\n"
    )
    account.mark = find_mark("tw6b3f0a21-9c4e11d2")
    account.refuses = "CreateQueue"
    with pytest.raises(ProvisioningError):
        deploy(program, account=account, stack="s", config={}, ledger=ledger)

    first, second = read_ledger(file)
    assert (first.type, first.name) == (ROLE, "guest")
    assert first.id == first.intent["name"] == account.asked("CreateRole")["RoleName"]
    assert (second.name, second.id) == ("letters", None)
    assert second.intent["name"] == account.asked("CreateQueue")["QueueName"]


def test_a_refusal_takes_back_what_was_announced(account: Any, ledger: Ledger, file: Path) -> None:
    """A thing of that name that is there is somebody else's."""
    account.refusals["CreateRole"] = [(409, "EntityAlreadyExists", "it is there")]

    with pytest.raises(ProvisioningError, match="it is there"):
        make_resource(account, role(name="theirs"), ledger=ledger)

    assert read_ledger(file) == []


@pytest.mark.parametrize("name", [None, "guest-tw6b3f0a21-9c4e11d2"])
def test_a_refusal_of_a_name_that_nobody_else_uses_takes_nothing_back(
    name: str | None, account: Any, ledger: Ledger, file: Path
) -> None:
    """A call whose answer was lost is made again, and refused since the first one was heard."""
    account.mark = find_mark("tw6b3f0a21-9c4e11d2")
    account.refusals["CreateRole"] = [(409, "EntityAlreadyExists", "it is there")]

    with pytest.raises(ProvisioningError, match="it is there"):
        make_resource(account, role(name=name), ledger=ledger)

    (noted,) = read_ledger(file)
    assert noted.id is None
    assert account.owns(noted.intent["name"])


@pytest.mark.parametrize("refusal", [(500, "InternalFailure", "?"), (503, "ServiceUnavailable", "?")])
def test_a_failure_of_the_other_side_takes_nothing_back(
    refusal: tuple[int, str, str], account: Any, ledger: Ledger, file: Path
) -> None:
    """It may have made the thing before it failed."""
    account.refusals["CreateRole"] = [refusal]

    with pytest.raises(ProvisioningError):
        make_resource(account, role(name="r"), ledger=ledger)

    assert read_ledger(file) == [Noted(type=ROLE, name="guest", intent={"name": "r"})]


def test_what_was_made_and_not_completed_is_noted(account: Any, ledger: Ledger, file: Path) -> None:
    """A table whose time to live is refused is a table."""
    account.refusals["UpdateTimeToLive"] = [(400, "ValidationException", "no")]
    inputs = {
        "name": "rows",
        "billingMode": "PAY_PER_REQUEST",
        "hashKey": "a",
        "attributes": [{"name": "a", "type": "S"}],
        "ttl": {"attributeName": "ttl", "enabled": True},
    }

    with pytest.raises(ProvisioningError):
        make_resource(account, Declared(type="aws:dynamodb/table:Table", name="readings", inputs=inputs), ledger=ledger)

    (noted,) = read_ledger(file)
    assert noted.id == "rows"
