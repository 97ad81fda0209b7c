"""How the commands speak: progress on standard error, a terminal has a live view; answers on standard output.

A line of progress that ends in … says what goes on now: the view shows it until the next one comes, and
elsewhere it is left out, so that a log has a line a case and none a rollout.
"""

import io
import re
import sys
import threading
from typing import Any

PASSING = "…"
_COUNT = re.compile(r":? ?(?:round )?(\d+)/(\d+)")
_SINCE = re.compile(r"\[ *\d+:\d\d\] ")
_lock = threading.Lock()


def begin() -> None:
    """Set up standard output: a sign that its encoding does not have is a question mark, and no crash."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def say(text: str) -> None:
    """Report progress, on standard error; from any thread, a line at a time."""
    with _lock:
        if not sys.stderr.isatty():
            if not text.endswith(PASSING):
                print(text, file=sys.stderr, flush=True)
        elif text.endswith(PASSING):
            _view.show(text)
        else:
            _view.keep(text)


def show(text: str) -> None:
    """Print an answer, on standard output; the view is over, and where more is said it begins anew."""
    end()
    print(text)


def end() -> None:
    """Take the view away."""
    _view.end()


class _View:
    """What goes on now, round by round, with the time left, below what is said to stay."""

    def __init__(self) -> None:
        self._live: Any = None
        self._what = ""

    def show(self, text: str) -> None:
        live = self._begun()
        count = _COUNT.search(text)
        what = _SINCE.sub("", text[: count.start()] if count else text)
        if what != self._what:  # another workload: what is left is estimated anew
            self._what = what
            live.reset(live.task_ids[0])
        live.update(
            live.task_ids[0],
            description=_COUNT.sub("", text, count=1),
            count=f"{count[1]}/{count[2]}" if count else "",
            completed=int(count[1]) if count else 0,
            total=int(count[2]) if count else None,
            refresh=True,
        )

    def keep(self, text: str) -> None:
        if self._live is None:
            print(text, file=sys.stderr, flush=True)
        else:
            self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def end(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _begun(self) -> Any:
        if self._live is None:
            # Here, since it takes longer to load than all else that --help needs.
            from rich import progress
            from rich.console import Console
            from rich.table import Column

            self._live = progress.Progress(
                progress.SpinnerColumn(),
                progress.TextColumn(
                    "{task.description}", markup=False, table_column=Column(no_wrap=True, ratio=1)
                ),
                progress.TextColumn("{task.fields[count]}", table_column=Column(min_width=6)),
                progress.TimeRemainingColumn(compact=True, table_column=Column(min_width=6)),
                console=Console(file=sys.stderr),
                transient=True,
                expand=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.add_task("", total=None, count="")
            self._live.start()
        return self._live


_view = _View()
