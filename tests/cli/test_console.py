"""What is said while a command works: a terminal sees each round, a log a line a case."""

import io
import re
import sys
import threading
import time

import pytest
from rollout_bench.cli import console

LINES = [
    "start 1 of 2: zmq [a/b]",
    "zmq nano: starting the engine …",
    "fixed 8: round 1/9: zmq 0.5 …",
    "fixed 8: 9",
]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_what_goes_on_now_is_for_a_terminal_alone(kind, monkeypatch, capsys):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "stderr", kind())
    for line in LINES:
        console.say(line)
    console.show("the table")
    said = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", sys.stderr.getvalue())
    lasting = [line for line in LINES if not line.endswith("…")]
    if kind is Terminal:
        assert all(line in said for line in [*lasting, LINES[1]])
        assert re.search(r"fixed 8: zmq 0.5 … +1/9 +--:--", said)
    else:
        assert said.splitlines() == lasting
    assert capsys.readouterr().out == "the table\n"
    sys.stderr.truncate(0)
    console.end()  # it has ended: no line of it comes into the table
    assert sys.stderr.getvalue() == ""


class Slow(io.StringIO):
    """What lets others write between two writes."""

    def write(self, text):
        time.sleep(0.002)
        return super().write(text)


def test_lines_of_several_threads_are_whole(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Slow())
    names = [f"lane {number}" for number in range(4)]
    threads = [threading.Thread(target=console.say, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sys.stderr.getvalue().splitlines()) == names
