"""Writes down what one's own loop asks of an engine, as a file that `--workload` reads again.

    from rollout_bench.measure.recorder import Recorder

    with Recorder("run.jsonl") as recorder:
        sample = recorder.begin(prompt_token_ids, group=7)    # when it is submitted
        ...
        sample.end(len(answer_token_ids))                     # when its answer is there

No token is written: prompts become lengths, and numbers for their blocks, the same for the same block.
Standard library only.
"""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from .formats import FORMATS

_OWN = FORMATS["lengths"]


@dataclass
class Sample:
    """One request: its prompt as ids, or their number where that is all that is known; and its times."""

    prompt: Sequence[int] | int
    arrival_seconds: float | None
    group: object = None
    """Samples of one group with one prompt answer that; None: this one is alone."""
    session: str | None = None
    """Samples of a session are its turns, in their order."""
    output_length: int = 0
    """0: it never ended."""
    end_seconds: float | None = None
    _now: Callable[[], float] = field(default=time.monotonic, repr=False)

    @property
    def prompt_length(self) -> int:
        """Tokens of the prompt."""
        return self.prompt if isinstance(self.prompt, int) else len(self.prompt)

    @property
    def ended(self) -> bool:
        """Whether there is something to write."""
        return bool(self.output_length and self.prompt_length)

    def end(self, output_length: int) -> None:
        """Its answer is there, of so many tokens."""
        self.output_length, self.end_seconds = output_length, self._now()


class Recorder:
    """Keeps the samples of a run; leaving the block writes those that ended, even where an error ends it.

    Any thread may begin and end samples. Raises OSError where the file cannot be written.
    """

    def __init__(self, path: str | Path, now: Callable[[], float] = time.monotonic):
        self._path = Path(path)
        self._now = now
        self._samples: list[Sample] = []

    def begin(self, prompt: Sequence[int] | int, group: object = None, session: object = None) -> Sample:
        """A sample is submitted now. Its prompt is given as ids, or as their number alone."""
        name = None if session is None else str(session)
        sample = Sample(prompt, self._now(), group, name, _now=self._now)
        self._samples.append(sample)
        return sample

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        write(self._path, self._samples)


def write(path: Path, samples: Iterable[Sample]) -> int:
    """Write samples as a workload, in the order of their arrival; how many there are of those that ended."""
    ended = [sample for sample in samples if sample.ended]
    ended.sort(key=lambda sample: sample.arrival_seconds or 0.0)
    begin = next((sample.arrival_seconds for sample in ended), None)
    groups: dict[object, int] = {}
    known_blocks: dict[tuple[int, ...], int] = {}
    last: dict[str, tuple[Sample, int, str]] = {}
    sessions = 0
    lines = []
    for number, sample in enumerate(ended):
        before, turn, session = None, 1, None
        if sample.session is not None:
            known = last.get(sample.session)
            if known and _goes_on(known[0], sample):
                before, turn, session = known[0], known[1] + 1, known[2]
            else:  # it is new, or has forgotten what was before
                sessions += 1
                session = str(sessions)
            last[sample.session] = sample, turn, session
        shared = 0 if before is None else before.prompt_length + before.output_length
        names = [] if isinstance(sample.prompt, int) else _blocks(sample.prompt[shared:], known_blocks)
        alone = sample.group is None or before is not None
        key = number if alone else (sample.group, sample.prompt_length, *names)
        line: dict[str, Any] = {
            _OWN.prompt: sample.prompt_length,
            _OWN.output: sample.output_length,
            _OWN.group: groups.setdefault(key, len(groups)),
        }
        if session is not None:
            line |= {_OWN.session: session, _OWN.turn: turn}
        if before is None and sample.arrival_seconds is not None:
            line[_OWN.arrival] = round(sample.arrival_seconds - (begin or 0.0), 6)
        elif before is not None and before.end_seconds is not None and sample.arrival_seconds is not None:
            line[_OWN.delay] = round(max(0.0, sample.arrival_seconds - before.end_seconds), 6)
        if names:
            line[_OWN.blocks] = names
        lines.append(json.dumps(line))
    path.write_text("".join(f"{line}\n" for line in lines))
    return len(lines)


def _goes_on(before: Sample, sample: Sample) -> bool:
    """Whether a prompt adds to prompt and answer of the turn before, as far as is known."""
    if sample.prompt_length <= before.prompt_length + before.output_length:
        return False
    if isinstance(sample.prompt, int) or isinstance(before.prompt, int):
        return True
    return list(sample.prompt[: before.prompt_length]) == list(before.prompt)


def _blocks(ids: Sequence[int], known: dict[tuple[int, ...], int]) -> list[int]:
    """Numbers of the blocks of some ids, the same for the same block."""
    size = _OWN.block_tokens
    blocks = [tuple(ids[place : place + size]) for place in range(0, len(ids), size)]
    return [known.setdefault(block, len(known)) for block in blocks]
