"""What only the tests of this folder need: a Prometheus, with the rules that `infra/monitoring` gives a cluster."""

from __future__ import annotations

import asyncio
import copy
import re
import shutil
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio
import yaml

from harness.clients.waiting import polled, wait

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from harness import ReceiverView
    from harness.targets.base import Target
    from harness.targets.outputs import StackOutputs

RULES: Final = Path(__file__).parents[2] / "infra" / "monitoring" / "prometheus-rule.yaml"
SCRAPE_EVERY: Final = "250ms"
EVALUATE_EVERY: Final = "250ms"
PENDING_FOR: Final = "1s"
_LISTENING: Final = re.compile(rb'msg="Listening on" address=(127\.0\.0\.1:[1-9]\d*)')


class MakePrometheus(Protocol):
    """The type of the fixture `make_prometheus`."""

    async def __call__(self, receiver: ReceiverView) -> Prometheus:
        """Start a Prometheus that watches a receiver, as the one of a cluster watches the Service's."""
        ...


class Prometheus:
    """A Prometheus that runs.

    Args:
        url: its base URL.
        patience: seconds that expectations wait.
    """

    def __init__(self, url: str, *, patience: float) -> None:
        self._url = url
        self._patience = patience

    async def expect(self, query: str, value: float) -> None:
        """Wait until a query has one answer, and that is as expected.

        Raises:
            AssertionError: it does not come to be so; tells what the query gives.
        """
        __tracebackhide__ = True

        async def look() -> bool | None:
            return True if await self.values(query) == [value] else None

        try:
            await polled(look, within=self._patience)
        except TimeoutError:
            raise AssertionError(f"{query} was to be {value}, and is {await self.values(query)}") from None

    async def values(self, query: str) -> list[float]:
        """Return what a query gives now: the value of each series, or each value of each series of a range."""
        result = (await self._get("query", query=query))["result"]
        return [float(text) for each in result for _, text in (each.get("values") or [each["value"]])]

    async def alerts(self) -> dict[str, str]:
        """Return the states of the alerts that are not quiet, by their names."""
        return {each["labels"]["alertname"]: each["state"] for each in (await self._get("alerts"))["alerts"]}

    async def expect_alert(self, name: str) -> dict[str, Any]:
        """Wait until an alert fires, and return it: labels, annotations and the rest.

        Raises:
            AssertionError: it does not; tells what does.
        """
        __tracebackhide__ = True

        async def look() -> dict[str, Any] | None:
            firing = (each for each in (await self._get("alerts"))["alerts"] if each["state"] == "firing")
            return next((each for each in firing if each["labels"]["alertname"] == name), None)

        try:
            return await polled(look, within=self._patience)
        except TimeoutError:
            raise AssertionError(f"{name} was to fire; {await self.alerts() or 'no alert'} is what there is") from None

    async def expect_rules_evaluated(self) -> list[str]:
        """Wait until each rule was evaluated, and return the names of those that failed."""

        async def look() -> list[dict[str, Any]] | None:
            rules = [rule for group in (await self._get("rules"))["groups"] for rule in group["rules"]]
            return rules if rules and all(rule["health"] != "unknown" for rule in rules) else None

        return [rule["name"] for rule in await polled(look, within=self._patience) if rule["health"] != "ok"]

    async def _get(self, path: str, **parameters: str) -> dict[str, Any]:
        async with httpx.AsyncClient(trust_env=False, timeout=self._patience) as http:
            answer = await http.get(f"{self._url}/api/v1/{path}", params=parameters)
        answer.raise_for_status()
        data: dict[str, Any] = answer.json()["data"]
        return data


@pytest_asyncio.fixture
async def make_prometheus(tmp_path: Path, stack: StackOutputs, target: Target) -> AsyncIterator[MakePrometheus]:
    """Starts a Prometheus of the test's own on a port of 127.0.0.1 that it chooses itself; ended after the test.

    Its rules are those of the PrometheusRule, every expression as it is. Two things are shortened, since a test cannot
    wait for minutes: how long an alert is pending, wherever it is, and how often Prometheus scrapes and evaluates.
    """
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("not proven: there is no prometheus")
    running: list[tuple[Process, asyncio.Task[None]]] = []

    async def make(receiver: ReceiverView) -> Prometheus:
        files = tmp_path / f"prometheus-{len(running)}"
        files.mkdir()
        (files / "rules.yaml").write_text(yaml.safe_dump(shortened_rules()), "utf-8")
        (files / "prometheus.yaml").write_text(yaml.safe_dump(_configuration(receiver, ca_file=stack.ca_file)), "utf-8")
        process = await asyncio.create_subprocess_exec(
            program,
            f"--config.file={files / 'prometheus.yaml'}",
            f"--storage.tsdb.path={files / 'data'}",
            "--web.listen-address=127.0.0.1:0",
            f"--scrape.discovery-reload-interval={SCRAPE_EVERY}",  # 5 s: the first scrape, 5 s later
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=PIPE,
        )
        address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        running.append((process, asyncio.create_task(_read_log(process, address))))
        return Prometheus(f"http://{await wait(address, within=target.patience)}", patience=target.patience)

    yield make
    for process, log in running:
        with suppress(ProcessLookupError):  # it has ended by itself
            process.kill()
        await process.wait()
        await log


def shortened_rules() -> dict[str, Any]:
    """Return the rules of the PrometheusRule, each alert pending for no longer than a test can wait."""
    spec: dict[str, Any] = copy.deepcopy(yaml.safe_load(RULES.read_text("utf-8"))["spec"])
    for group in spec["groups"]:
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = PENDING_FOR
    return spec


def _configuration(receiver: ReceiverView, *, ca_file: str | None) -> dict[str, Any]:
    """Return what watches one receiver, with the labels that a ServiceMonitor in a cluster would give its series."""
    url = urlsplit(receiver.url)
    job = {
        "job_name": "iot-receiver",
        "scheme": url.scheme,
        "tls_config": {} if ca_file is None else {"ca_file": ca_file},
        "static_configs": [{"targets": [url.netloc], "labels": {"namespace": "apps", "service": "iot-receiver"}}],
    }
    return {
        "global": {
            "scrape_interval": SCRAPE_EVERY,
            "scrape_timeout": SCRAPE_EVERY,
            "evaluation_interval": EVALUATE_EVERY,
        },
        "rule_files": ["rules.yaml"],
        "scrape_configs": [job],
    }


async def _read_log(process: Process, address: asyncio.Future[str]) -> None:
    """Give the address that Prometheus chose, and read on, so that it is never held up by a full pipe."""
    lines: list[bytes] = []
    async for line in process.stderr or ():
        lines.append(line)
        if not address.done() and (match := _LISTENING.search(line)):
            address.set_result(match[1].decode())
    if not address.done():
        address.set_exception(AssertionError(f"Prometheus did not start: {b''.join(lines[-5:]).decode()}"))
