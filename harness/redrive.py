"""The command ``redrive``: its lines and its exit code. The work is done by `harness.clients.redriving`.

Its lines are an interface, like those of the other commands: people read them, scripts match them.
"""

from __future__ import annotations

import ssl
import time
from typing import TYPE_CHECKING, Final

from harness.clients.letter_box import LetterBox
from harness.clients.redriving import Redriver
from harness.clients.stored import StoredRows

if TYPE_CHECKING:
    from harness.clients.redriving import Outcome
    from harness.targets.base import Environment
    from harness.terminal import Terminal

_SECONDS_BETWEEN_LINES: Final = 2.0


def run_redrive(terminal: Terminal, environment: Environment, *, min_age: float, is_dry: bool) -> int:
    """Redrive the letters of a stack's dead-letter queue.

    Args:
        terminal: where its lines go.
        environment: a target that runs, with its stack.
        min_age: seconds that a letter has to be old.
        is_dry: only tell what would be done.

    Returns:
        0 when no letter is left that could be redriven, else 1.

    Raises:
        TargetUnavailable: the stack has no queue or no table, or the queue cannot be read.
    """
    outputs = environment.outputs
    queue_url, table = outputs.need("dead_letter_queue_url"), outputs.need("table_name")
    terminal.line(f"[redrive] queue={queue_url} table={table}{' (dry run)' if is_dry else ''}")
    last = time.monotonic()

    def tell(outcome: Outcome) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= _SECONDS_BETWEEN_LINES:
            last = now
            terminal.line(f"[redrive] {outcome.seen} letters so far: {outcome}")

    outcome = Redriver(
        box=LetterBox(environment.client("sqs"), queue_url),
        rows=StoredRows(environment.client("dynamodb"), table),
        iot=environment.client("iot"),
        tls=ssl.create_default_context(cafile=outputs.ca_file),
        min_age=min_age,
        is_dry=is_dry,
        on_round=tell,
    ).run()
    terminal.line(f"[done] {'would be ' if is_dry else ''}{outcome}")
    return 1 if outcome.can_go_on or (is_dry and outcome.redriven + outcome.stored) else 0
