"""The page on making a rule by hand: what it tells readers to send is what AWS's API and this stand-in take."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from harness import cli
from harness.iot.quirks import Quirks
from harness.iot.rules import check_actions, parse_statement

PAGE = (Path(__file__).resolve().parents[3] / "docs/rules-by-hand.md").read_text("utf-8")
SERVICES = {"iot", "dynamodb", "sts"}


def document(name: str) -> Any:
    """Give the JSON that the page writes to a file, as the shell would leave it."""
    text = re.search(rf"^cat > {re.escape(name)} <<'?JSON'?\n(.*?)^JSON$", PAGE, re.MULTILINE | re.DOTALL)
    assert text is not None, name
    shown = text[1].replace("$RECEIVER", "https://localhost:8443").replace("$SECRET", "secret").replace("\\$", "$")
    return json.loads(shown)


def complaints(operation: str, parameters: Any) -> str:
    """Give what botocore, and so the AWS CLI, finds wrong with the parameters of a call of AWS IoT."""
    shape = botocore.session.Session().get_service_model("iot").operation_model(operation).input_shape
    return str(ParamValidator().validate(parameters, shape).generate_report())


@pytest.mark.parametrize(
    ("name", "operation"),
    [("destination.json", "CreateTopicRuleDestination"), ("http-rule.json", "CreateTopicRule")],
)
def test_documents_are_parameters_of_their_call(name: str, operation: str) -> None:
    """Each file has the names that the API has: the CLI sends it."""
    assert complaints(operation, document(name)) == ""


def test_document_with_the_answer_s_name_is_refused() -> None:
    """The control: the page warns of `httpUrlProperties`, and the CLI does refuse it."""
    wrong = {"destinationConfiguration": {"httpUrlProperties": {"confirmationUrl": "https://localhost"}}}

    assert "Unknown parameter in destinationConfiguration" in complaints("CreateTopicRuleDestination", wrong)


def test_rule_is_one_that_runs_here() -> None:
    """Name, SQL and action pass the checks of CreateTopicRule, and its headers keep their templates."""
    told = document("http-rule.json")
    payload = told["topicRulePayload"]

    assert re.fullmatch(r"[a-zA-Z0-9_]+", told["ruleName"])
    assert parse_statement(payload["sql"], version=payload["awsIotSqlVersion"]).topic_filter == "things/telemetry"
    check_actions(payload["actions"], None, version=payload["awsIotSqlVersion"], quirks=Quirks())
    headers = {header["key"]: header["value"] for header in payload["actions"][0]["http"]["headers"]}
    assert headers["X-Message-Id"] == "${traceid()}"


def test_commands_are_ones_that_exist() -> None:
    """Every `aws` call is an operation with these options, and every `thingwright` one a command with these."""
    script = "\n".join(re.findall(r"^```bash\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
    session = botocore.session.Session()
    calls = re.findall(r"\baws (iot|dynamodb|sts) ([a-z-]+)(.*)", script)
    assert {service for service, _, _ in calls} == SERVICES
    for service, command, rest in calls:
        model = session.get_service_model(service)
        by_command = {botocore.xform_name(name, "-"): name for name in model.operation_names}
        assert command in by_command
        shape = model.operation_model(by_command[command]).input_shape
        accepted = {botocore.xform_name(name, "-") for name in (shape.members if shape else ())}
        accepted |= {"cli-input-json", "query", "output", "certificate-pem-outfile", "public-key-outfile"}
        accepted |= {"private-key-outfile"}
        assert [name for name in re.findall(r" --([a-z-]+)", rest) if name not in accepted] == []
    commands = cli.typer.main.get_command(cli.app).commands
    for name, rest in re.findall(r"^thingwright (\w+)(.*)$", script, re.MULTILINE):
        options = {text for parameter in commands[name].params for text in parameter.opts}
        assert [option for option in re.findall(r" (--[a-z-]+)", rest) if option not in options] == []


def test_page_keeps_no_secret() -> None:
    """What was pasted shows neither a key nor a token, not even of a stand-in that is gone."""
    assert not re.search(r"AKIA|ASIA|PRIVATE KEY-|Bearer (?!\$)", PAGE)
