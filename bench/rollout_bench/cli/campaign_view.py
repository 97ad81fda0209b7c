"""How a campaign goes, in one view: what runs where, what is done, how long it will take.

On a terminal it is drawn anew as it changes; elsewhere each event is a line; with --json a line of JSON.
"""

import json
import os
import sys
import time
from types import TracebackType
from typing import Any

from ..campaign.plan import Session
from ..campaign.run import Runner
from .console import say


class View:
    """The view of a campaign, for the length of a block."""

    def __init__(self, as_json: bool) -> None:
        self._json, self._out = as_json, sys.stdout
        self._live: Any = None
        self._runner: Runner | None = None
        self._before = self._sessions = 0
        self._doing: dict[Session, str] = {}
        self._lines = {
            "nodes": "{count} nodes: {came} came, {gone} went",
            "began": "{session}: began on {host}",
            "doing": "{session}, {host}: {text}",
            "saved": "{session}: {file}",
            "done": "{session}: done on {host} in {took}; {progress}",
            "lost": "{session}: lost on {host}, and goes again: {why}",
            "failed": "{session}: failed on {host}: {why}",
        }

    def __enter__(self) -> "View":
        # Ray writes there of its own accord, such as pages of a raylet's state when one is killed.
        self._nowhere = open(os.devnull, "w")
        sys.stdout = self._nowhere
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.stdout = self._out
        self._nowhere.close()
        if self._live is not None:
            self._live.stop()
            self._live = None
        if kind is KeyboardInterrupt and self._runner is not None:
            say(f"{self._progress()}: what is finished is in results/; the same command goes on from there")

    def begin(self, runner: Runner, done: int, sessions: int) -> None:
        """Begin to show a campaign of which so many commits are done, and so many sessions left."""
        self._runner, self._before, self._sessions = runner, done, sessions
        if self._json:
            self._write("begin", commits_done=done, sessions=sessions, machines=dict(runner.names))
            return
        names = ", ".join(sorted({*runner.names.values()}))
        say(f"{sessions} session{'s' * (sessions != 1)} on {names}; {done} commits are measured already")
        if sys.stderr.isatty() and sessions:
            # Here, since it takes longer to load than all else that --help needs.
            from rich.console import Console
            from rich.live import Live

            self._live = Live(
                get_renderable=self._table, console=Console(file=sys.stderr), transient=True,
                redirect_stdout=False, redirect_stderr=False,
            )  # fmt: skip
            self._live.start()

    def tell(self, name: str, **facts: Any) -> None:
        """Show an event."""
        session = facts.get("session")
        if session is not None:
            if name == "doing":
                self._doing[session] = facts["text"]
            elif name in ("done", "lost", "failed"):
                self._doing.pop(session, None)
        if self._json:
            self._write(name, **facts)
            return
        if self._live is not None and name in ("doing", "saved"):  # the table has it
            return
        shown = facts | {"count": len(facts.get("hosts", ())), "progress": self._progress()}
        shown["took"] = duration(facts.get("seconds", 0))
        line = self._lines[name].format(**shown)
        if self._live is None:
            say(line)
        else:
            self._live.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def end(self, runner: Runner) -> None:
        """Say what came of it."""
        if self._json:
            self._write("end", done=runner.done, failed=len(runner.failed), left=runner.left)
            return
        say(self._progress() + ("; the budget is spent, the same command goes on" if runner.left else ""))
        for session, why in runner.failed:
            say(f"failed: {session}: {why}")

    def _progress(self) -> str:
        runner = self._runner
        if runner is None:
            return "nothing has begun"
        ended = f"{runner.done} of {self._sessions} sessions done"
        failed = f", {len(runner.failed)} failed" if runner.failed else ""
        left = runner.seconds_left
        return ended + failed + (f", {duration(left)} left" if left else "")

    def _write(self, name: str, **facts: Any) -> None:
        """A line of JSON."""
        session = facts.pop("session", None)
        if session is not None:
            facts["table"], facts["machine"] = session.table, session.machine
            facts["commits"] = [one.hash for one in session.commits]
        runner = self._runner
        if runner is not None and name in ("done", "lost", "failed"):
            facts["sessions_left"], facts["seconds_left"] = runner.left, runner.seconds_left
        line = json.dumps({"event": name, "at": round(time.time(), 1)} | facts)
        print(line, file=self._out, flush=True)

    def _table(self) -> Any:
        from rich import box
        from rich.table import Table

        shown = Table(box=box.SIMPLE_HEAD, caption=self._progress(), caption_justify="left", expand=True)
        for title, ratio in (("node", 2), ("session", 3), ("for", 1), ("now", 4)):
            shown.add_column(title, ratio=ratio, no_wrap=True)
        now = time.monotonic()
        for one in self._runner.running.values() if self._runner else ():
            since = duration(now - one.begun) if one.begun else ""
            doing = self._doing.get(one.session, "" if one.begun else "waits for a node")
            shown.add_row(one.host, str(one.session), since, doing)
        return shown


def duration(seconds: float) -> str:
    """A time for people, to the minute where it is long."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
