"""recordings.py: vLLM's request log and spans, and verl's dump, as these versions write them."""

import json

import pytest
from rollout_bench.measure.lines import BadFile
from rollout_bench.measure.recordings import samples, source_of

PREFIX = "(APIServer pid=4242) {} 11-26 19:42:{:02} [entrypoints/.../utils/request_logger.py:57] "
PARAMS = (
    "params: SamplingParams(n={}, presence_penalty=0.0, temperature=1.0, stop=['max_tokens=3'], "
    "ignore_eos={}, max_tokens={}, min_tokens=0, logprobs=None), lora_request: None."
)


def asked(name, second, ids, n=1, forced=False, most=6):
    details = (
        f"Request {name} details: prompt: 'prompt_token_ids: [1]', prompt_token_ids: {ids}, prompt_embeds "
    )
    return [
        PREFIX.format("DEBUG", second) + details + "shape: None.",
        PREFIX.format("INFO", second) + f"Received request {name}: " + PARAMS.format(n, forced, most),
    ]


def answered(name, second, ids):
    return [
        PREFIX.format("DEBUG", second) + f"Generated response {name} details: output_token_ids: {ids}",
        PREFIX.format("INFO", second) + f"Generated response {name}: output: 'a', finish_reason: stop",
    ]


LOG = [
    "WARNING 11-26 19:41:00 [api_server.py:1] Started.",
    *asked("a", 10, [5, 6, 7], n=2),
    "\x1b[0;36m(APIServer pid=1)\x1b[0;0m INFO \x1b[90m11-26 19:42:11\x1b[0m [async_llm.py:578] Added a.",
    *asked("b", 12, [5], forced=True, most=9),
    *answered("a", 14, [1, 2, 3]),
    *answered("a", 14, (4,)),
    *asked("lost", 15, [8, 8]),
]
OLD = [  # before prompts went to DEBUG
    "INFO 11-26 19:42:10 [logger.py:43] Received request a: prompt: 'Hi', "
    + PARAMS.format(1, False, 6).replace(
        ", lora", ", prompt_token_ids: [5, 6], prompt_embeds shape: None, lora"
    ),
    "INFO 11-26 19:42:13 [logger.py:70] Generated response a: output: 'x', output_token_ids: [1, 2], "
    "finish_reason: stop",
]
SPAN = {
    "name": "llm_request",
    "startTimeUnixNano": "1764186135250000000",
    "attributes": [
        {"key": "gen_ai.usage.prompt_tokens", "value": {"intValue": "40"}},
        {"key": "gen_ai.usage.completion_tokens", "value": {"intValue": 6}},
        {"key": "gen_ai.latency.e2e", "value": {"doubleValue": 0.5}},
        {"key": "gen_ai.request.id", "value": {"stringValue": "one"}},
    ],
}


def spans(*some):
    return {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": list(some)}]}]}


@pytest.fixture
def write(tmp_path):
    def put(*lines):
        path = tmp_path / "source"
        path.write_text(
            "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n"
        )
        return path

    return put


def read(path):
    return samples(path, source_of(path), lambda text: [ord(letter) for letter in text])


def told(found):
    begin = found[0].arrival_seconds
    return [
        (
            one.prompt,
            one.output_length,
            one.group,
            one.arrival_seconds - begin,
            one.end_seconds and one.end_seconds - begin,
        )
        for one in found
    ]


def test_a_log_says_prompts_answers_and_times_to_the_second(write):
    assert told(read(write(*LOG))) == [
        ([5, 6, 7], 3, "a", 0, 4),
        ([5, 6, 7], 1, "a", 0, 4),
        ([5], 9, None, 2, None),
        ([8, 8], 0, None, 5, None),
    ]


def test_a_log_of_json_has_milliseconds(write):
    lines = [
        {"asctime": f"2026-11-26 19:42:{second}", "levelname": "DEBUG", "message": line.split("] ", 1)[1]}
        for second, line in zip(
            ("10,250", "10,250", "12,500", "12,500"),
            [*asked("a", 0, [5]), *answered("a", 0, [1])],
            strict=True,
        )
    ]
    assert told(read(write(*lines))) == [([5], 1, None, 0, 2.25)]


def test_a_log_of_an_older_vllm_has_it_in_one_line(write):
    assert told(read(write(*OLD))) == [([5, 6], 2, None, 0, 3)]


def test_spans_say_lengths_and_times(write):
    other = {
        "name": "Worker.init",
        "startTimeUnixNano": "1",
        "attributes": [{"key": "a", "value": {"intValue": 1}}],
    }
    later = SPAN | {"startTimeUnixNano": "1764186136250000000"}
    assert told(read(write(spans(other, SPAN), spans(later)))) == [
        (40, 6, "one", 0, 0.5),
        (40, 6, "one", 1, 1.5),
    ]


def test_a_dump_is_tokenized_and_grouped_by_prompt_and_step(write):
    lines = [
        {"input": text, "output": "abc", "gts": None, "score": 1.0, "step": 3} for text in ("Hi", "Hi", "Ho")
    ]
    found = read(write(*lines))
    assert [(len(one.prompt), one.output_length, one.group) for one in found] == [
        (2, 3, (3, "Hi")),
        (2, 3, (3, "Hi")),
        (2, 3, (3, "Ho")),
    ]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["Hello"], "has no request of any of these: vllm-log: vLLM's log with --enable-log-requests"),
        (
            asked("a", 1, [5])[1:],
            "line 1: request a has no prompt_token_ids; run vLLM with --log-level DEBUG",
        ),
        (asked("a", 1, [5]), "has no tokens of answers; run vLLM with --enable-log-outputs"),
        (
            [
                *asked("a", 1, [5]),
                "DEBUG Generated response a (streaming delta) details: output_token_ids: [1]",
            ],
            "line 2: the answer of request a was streamed, .* record from spans",
        ),
        ([line.replace("11-26 ", "") for line in asked("a", 1, [5])], "line 2 has no time; give vLLM's log"),
        ([spans(SPAN), "{"], "line 2 is no JSON: .*; give JSON lines, as a collector's file exporter"),
        ([spans(SPAN | {"startTimeUnixNano": None})], r"line 1 is no span in OTLP's JSON \(TypeError: "),
        ([{"input": "Hi", "output": None}], "line 1: output is no text; give a file of verl's"),
    ],
)
def test_what_a_source_does_not_say_is_refused_with_the_option_that_says_it(write, lines, says):
    with pytest.raises(BadFile, match=says) as caught:
        read(write(*lines))
    assert "\n" not in str(caught.value)
