"""A program in the place of the Pulumi CLI: says and does what the real one does, and keeps a record of it.

In the folder FAKE_PULUMI, ``state.json`` holds what the tests chose, and the stacks; ``calls.jsonl`` gets a line for
each call.
"""

import json
import os
import signal
import sys
from pathlib import Path

FOLDER = Path(os.environ["FAKE_PULUMI"])
STATE = FOLDER / "state.json"


def say(text: str) -> None:
    """Say something at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Do one call."""
    state = json.loads(STATE.read_text("utf-8"))
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    options = [word for word in sys.argv[1:] if word.startswith("-")]
    name = sys.argv[sys.argv.index("--stack") + 1]
    given = "" if sys.stdin.isatty() else sys.stdin.read()
    call = {
        "argv": sys.argv[1:],
        "stdin": given,
        "secret": os.environ.get("HARNESS_IOT_SECRET"),
        "python": os.environ.get("PULUMI_PYTHON_CMD"),
    }
    with (FOLDER / "calls.jsonl").open("a", encoding="utf-8") as calls:
        calls.write(json.dumps(call) + "\n")
    if words[0] in state.get("fails", {}):
        say("the last thing it did")
        sys.stderr.write(state["fails"][words[0]] + "\n")
        return 255
    if words[0] == "up" and state.get("hangs"):
        return update_until_interrupted()
    if words[:2] == ["stack", "init"]:
        state["stacks"][name] = {"config": {}, "outputs": {}}
        STATE.write_text(json.dumps(state), "utf-8")
        say(f"Created stack '{name}'")
        return 0
    if name not in state["stacks"]:
        sys.stderr.write(f"error: no stack named '{name}' found\n")
        return 255
    answer(state, name, words, options, given)
    STATE.write_text(json.dumps(state), "utf-8")
    return 0


def answer(state: dict, name: str, words: list[str], options: list[str], given: str) -> None:
    """Do a call that concerns a stack which is there."""
    stack = state["stacks"][name]
    if words[:2] == ["stack", "output"]:
        say(json.dumps(stack["outputs"], indent=2))
    elif words[:2] == ["config", "set"]:
        key = words[2] if ":" in words[2] else f"thingwright:{words[2]}"
        stack["config"][key] = {"value": given.removesuffix("\n"), "secret": "--secret" in options}
    elif words[0] == "config":
        blinded = {key: {"secret": True} if each["secret"] else each for key, each in stack["config"].items()}
        say(json.dumps(blinded, indent=2))
    elif words[0] == "up":
        say(f"Updating ({name}):\n +  aws:iot:Policy device created\n\nResources:\n    + 1 created")
        stack["outputs"] = state["outputs"]
    elif words[0] == "destroy":
        say(f"Destroying ({name}):\n -  aws:iot:Policy device deleted\n\nResources:\n    - 1 deleted")
        stack["outputs"] = {}
    else:
        sys.exit(f"error: unknown command {words}")


def update_until_interrupted() -> int:
    """Take for ever, until the first Ctrl+C, and end as after a cancelled update."""
    interrupts = {signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, interrupts)
    say("Updating (dev):")
    signal.sigwait(interrupts)
    say("error: update cancelled")
    with (FOLDER / "interrupts").open("a", encoding="utf-8") as file:
        file.write("SIGINT\n")
    return 255


if __name__ == "__main__":
    sys.exit(main())
