"""The linearizability checker against histories of real stores, whose verdicts are known."""

import csv
import re
import time
from pathlib import Path
from typing import Any

import pytest

from leasekit.backends.raft.simulator import models
from leasekit.backends.raft.simulator.linearizability import UNKNOWN, Model, Operation, check

FOLDER = Path(__file__).parents[2].parent / "shared" / "data" / "histories"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no outside histories: {FOLDER} is absent")


def verdicts() -> list[tuple[str, bool]]:
    if not FOLDER.is_dir():
        return []
    with (FOLDER / "verdicts.csv").open() as lines:
        return [(row["file"], row["linearizable"] == "true") for row in csv.DictReader(lines)]


def number(text: str) -> int | None:
    return None if text == "nil" else int(text)


def register_input(kind: str, value: str) -> object:
    match kind:
        case "read":
            return models.Read()
        case "write":
            return models.Write(number(value))
        case _:
            expected, new = value.strip("[]").split()
            return models.Cas(int(expected), int(new))


def register_history(text: str) -> list[Operation]:
    """Jepsen's log: process, type, function, value."""
    line = re.compile(r"^INFO  jepsen\.util - (\d+)\t:(\w+)\t:(\w+)\t(.*)$", re.MULTILINE)
    begun: dict[str, tuple[int, object]] = {}
    history = []
    for time_, (process, kind, function, value) in enumerate(line.findall(text)):
        if kind == "invoke":
            begun[process] = (time_, register_input(function, value))
        elif kind in ("ok", "fail") and value != ":timed-out":
            called, asked = begun.pop(process)
            output = {"read": number(value) if function == "read" else None, "write": True, "cas": kind == "ok"}[
                function
            ]
            history.append(Operation(client=process, input=asked, output=output, called=called, returned=time_))
        else:
            assert value == ":timed-out"
            called, asked = begun.pop(process)
            history.append(Operation(client=process, input=asked, called=called))
    history += [Operation(client=process, input=asked, called=called) for process, (called, asked) in begun.items()]
    return history


def text_history(text: str) -> list[Operation]:
    line = re.compile(r'^{:process (\d+), :type :(\w+), :f :(\w+), :key "(.*?)", :value (nil|".*")}$', re.MULTILINE)
    begun: dict[str, tuple[int, object]] = {}
    history = []
    for time_, (process, kind, function, key, value) in enumerate(line.findall(text)):
        value = value.strip('"')
        if kind == "invoke":
            kinds = {"get": models.Get(key), "put": models.Put(key, value), "append": models.Append(key, value)}
            begun[process] = (time_, kinds[function])
        else:
            assert kind == "ok"
            called, asked = begun.pop(process)
            output = value if function == "get" else True
            history.append(Operation(client=process, input=asked, output=output, called=called, returned=time_))
    return history + [
        Operation(client=process, input=asked, output=UNKNOWN, called=called)
        for process, (called, asked) in begun.items()
    ]


def load(name: str) -> tuple[Model[Any], list[Operation], int]:
    text = (FOLDER / name).read_text()
    history = text_history(text) if name.startswith("kv") else register_history(text)
    return (models.texts if name.startswith("kv") else models.register), history, text.count(":invoke")


@pytest.mark.parametrize(("name", "linearizable"), verdicts())
def test_agrees_with_the_known_verdict(name: str, linearizable: bool) -> None:
    model, history, invoked = load(name)
    assert len(history) == invoked > 20, "every operation was read from the file"
    assert check(model, history).linearizable is linearizable


def test_the_whole_set_takes_less_than_a_minute() -> None:
    began = time.process_time()
    for name, _ in verdicts():
        model, history, _ = load(name)
        check(model, history)
    took_s = time.process_time() - began
    print(f"{len(verdicts())} histories in {took_s:.1f} s")
    assert took_s < 60
