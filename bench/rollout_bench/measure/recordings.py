"""What vLLM and verl leave of a run, read as samples for `recorder.write`: a request log, spans, a dump.

What vLLM writes is in its RequestLogger and SpanAttributes (0.32), verl in RayPPOTrainer._write_generations.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import lines
from .lines import BadFile
from .recorder import Sample

LOG, SPANS, DUMP = "vllm-log", "vllm-spans", "verl-dump"
SOURCES = {
    LOG: "vLLM's log with --enable-log-requests --enable-log-outputs --log-level DEBUG",
    SPANS: "vLLM's OpenTelemetry spans (--otlp-traces-endpoint), as a collector's file exporter writes them",
    DUMP: "verl's trainer.rollout_data_dir, one file of it",
}
"""What can be recorded from, and how it is made."""

_PROMPT_TOKENS, _ANSWER_TOKENS = "gen_ai.usage.prompt_tokens", "gen_ai.usage.completion_tokens"
_TIME = re.compile(r"(?:(\d{4})-)?(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:,(\d{3}))?")
_IDS = r"[\[(]([\d, ]*)[\])]"
_PROMPT = re.compile(rf"(?:Received request|Request) (\S+?)(?: details)?: prompt: .*prompt_token_ids: {_IDS}")
_RECEIVED = re.compile(
    r"Received request (\S+): .*?SamplingParams\(n=(\d+),.* ignore_eos=(\w+), max_tokens=(\w+)"
)
_STREAMED = re.compile(r"Generated response (\S+) \(streaming ")
_ANSWERED = re.compile(
    rf"Generated response (\S+)(?: details)?: .*output_token_ids: {_IDS}(?:, finish_reason: \w+)?$"
)

_COLLECTED = "give JSON lines, as a collector's file exporter writes them"

Tokenize = Callable[[str], list[int]]


@dataclass
class _Request:
    where: str
    arrival_seconds: float
    samples: int
    forced: int | None
    """The length of its answers, where it is forced."""
    end_seconds: float | None = None
    streamed: bool = False
    outputs: list[int] = field(default_factory=list)


def source_of(path: Path) -> str:
    """Which of SOURCES a file is. Raises BadFile where it is none."""
    for _where, text in _text(path):
        if "resourceSpans" in text[:200]:
            return SPANS
        if text.startswith("{") and {"input", "output"} <= _object(text).keys():
            return DUMP
        if _PROMPT.search(text) or _RECEIVED.search(text):
            return LOG
    known = "; ".join(f"{name}: {what}" for name, what in SOURCES.items())
    raise BadFile(f"{path} has no request of any of these: {known}")


def samples(path: Path, source: str, tokenize: Tokenize) -> list[Sample]:
    """What a file of one of SOURCES has, those that never ended included. Raises BadFile."""
    if source == LOG:
        return list(_log(path))
    return list(_spans(path) if source == SPANS else _dump(path, tokenize))


def _log(path: Path) -> Iterator[Sample]:
    prompts: dict[str, list[int]] = {}
    requests: dict[str, _Request] = {}
    for where, text in _text(path):
        stamp, text = _message(text)
        if found := _PROMPT.search(text):
            prompts[found[1]] = _ids(found[2])
        if found := _RECEIVED.search(text):
            forced = int(found[4]) if found[3] == "True" and found[4].isdigit() else None
            requests[found[1]] = _Request(where, _seconds(where, stamp), int(found[2]), forced)
        elif found := _STREAMED.search(text):
            if found[1] in requests:
                requests[found[1]].streamed = True
        elif (found := _ANSWERED.search(text)) and found[1] in requests:
            requests[found[1]].outputs.append(len(_ids(found[2])))
            requests[found[1]].end_seconds = _seconds(where, stamp)
    for name, request in requests.items():
        if name not in prompts:
            raise BadFile(
                f"{request.where}: request {name} has no prompt_token_ids; run vLLM with --log-level DEBUG"
            )
        if request.streamed and request.forced is None:
            raise BadFile(
                f"{request.where}: the answer of request {name} was streamed, of which vLLM does not log all "
                f"tokens; record from spans ({SOURCES[SPANS]})"
            )
        lengths = request.outputs or [0]
        for length in lengths if request.forced is None else [request.forced] * request.samples:
            yield Sample(
                prompts[name],
                request.arrival_seconds,
                name if request.samples > 1 else None,
                output_length=length,
                end_seconds=request.end_seconds,
            )
    if requests and not any(request.forced or request.outputs for request in requests.values()):
        raise BadFile(
            f"{path} has no tokens of answers; run vLLM with --enable-log-outputs and --log-level DEBUG, or, "
            f"since it logs none of /v1/completions, record from spans ({SOURCES[SPANS]})"
        )


def _spans(path: Path) -> Iterator[Sample]:
    for where, text in _text(path):
        traces = _object(text, where)
        try:
            yield from [sample for span in _each_span(traces) for sample in _request(span)]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            why = f"{type(error).__name__}: {error}"
            raise BadFile(f"{where} is no span in OTLP's JSON ({why}); {_COLLECTED}") from None


def _each_span(traces: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for outer in traces.get("resourceSpans", ()):
        for inner in outer.get("scopeSpans", ()):
            yield from inner.get("spans", ())


def _request(span: dict[str, Any]) -> Iterator[Sample]:
    """The request that a span is of, if it is of one."""
    facts: dict[str, Any] = {
        one["key"]: next(iter(one["value"].values()), None) for one in span.get("attributes", ())
    }
    if _PROMPT_TOKENS in facts:
        begin = int(span["startTimeUnixNano"]) / 1e9
        yield Sample(
            int(facts[_PROMPT_TOKENS]),
            begin,
            facts.get("gen_ai.request.id"),
            output_length=int(facts.get(_ANSWER_TOKENS, 0)),
            end_seconds=begin + float(facts.get("gen_ai.latency.e2e", 0.0)),
        )


def _dump(path: Path, tokenize: Tokenize) -> Iterator[Sample]:
    for where, line in lines.lines(path):
        for name in ("input", "output"):
            if not isinstance(line.get(name), str):
                raise BadFile(f"{where}: {name} is no text; give a file of verl's trainer.rollout_data_dir")
        prompt = line["input"]
        yield Sample(
            tokenize(prompt), None, (line.get("step"), prompt), output_length=len(tokenize(line["output"]))
        )


def _text(path: Path) -> Iterator[tuple[str, str]]:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for number, text in enumerate(file, 1):
                if text.strip():
                    yield f"{path} line {number}", text.strip()
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error}") from None


def _object(text: str, where: str = "") -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        if not where:
            return {}
        raise BadFile(f"{where} is no JSON: {error}; {_COLLECTED}") from None
    return content if isinstance(content, dict) else {}


def _message(text: str) -> tuple[str, str]:
    """When a line of a log was written, and what it says; vLLM's logs are text or, if asked for, JSON."""
    if text.startswith("{"):
        content = _object(text)
        return str(content.get("asctime", "")), str(content.get("message", ""))
    return text, text


def _seconds(where: str, text: str) -> float:
    """From a date, whose year a log of text leaves out: any leap year does. It has whole seconds alone."""
    found = _TIME.search(text)
    if found is None:
        raise BadFile(f"{where} has no time; give vLLM's log as it writes it")
    year, *rest, millis = found.groups()
    month, day, hour, minute, second = map(int, rest)
    at = datetime(int(year or 1972), month, day, hour, minute, second, int(millis or 0) * 1000, UTC)
    return at.timestamp()


def _ids(text: str) -> list[int]:
    return [int(one) for one in text.split(",") if one.strip()]
