"""The OpenAPI document, compared with the application; `tests/infra` compares it with what a process answers."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from receiver import __version__
from receiver.answers import CONFIRMATION_REFUSALS, REFUSALS
from receiver.openapi import make_document

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.receiver.conftest import Service

DOCUMENT = make_document()


def references_of(value: Any) -> Iterator[str]:
    """Find all references."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references_of(inner)


def test_every_route_is_written_down(service: Service) -> None:
    """And nothing that is none."""
    routes = {(route.path, method) for route in service.app.routes for method in route.methods - {"HEAD"}}

    assert {(path, name.upper()) for path, item in DOCUMENT["paths"].items() for name in item} == routes


def test_every_status_is_written_down() -> None:
    """Of messages and of confirmations."""
    messages = {str(status) for _, status in REFUSALS.values()} | {"200", "500"}
    confirmations = {str(status) for _, status in CONFIRMATION_REFUSALS.values()} | {"200", "404", "500"}

    assert set(DOCUMENT["paths"]["/ingest"]["post"]["responses"]) == messages
    for path in ("/", "/ingest/"):
        assert set(DOCUMENT["paths"][path]["post"]["responses"]) == confirmations


def test_every_reference_leads_somewhere() -> None:
    """And everything that is there is led to."""
    found = set(references_of(DOCUMENT))
    components = DOCUMENT["components"]

    assert found == {f"#/components/{kind}/{name}" for kind in ("schemas", "responses") for name in components[kind]}


def test_the_secret_is_asked_for_where_it_is_needed() -> None:
    """By messages alone."""
    secured = [path for path, item in DOCUMENT["paths"].items() for operation in item.values() if operation["security"]]

    assert secured == ["/ingest"]
    assert DOCUMENT["components"]["securitySchemes"]["IotSecret"]["name"] == "X-Iot-Secret"


async def test_examples_are_accepted(service: Service) -> None:
    """As they stand there."""
    examples = DOCUMENT["paths"]["/ingest"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    for example in examples.values():
        answer = await service.post(example["value"], X_Message_Id=None, X_Received_At=None)
        assert answer.status_code == 200


def test_the_document_is_printed() -> None:
    """Without a setting."""
    done = subprocess.run([sys.executable, "-m", "receiver", "--openapi"], check=True, capture_output=True, text=True)

    assert json.loads(done.stdout) == json.loads(json.dumps(DOCUMENT))
    assert json.loads(done.stdout)["info"]["version"] == __version__
