"""replay.py: traces as rollouts; what is wrong, of a line or of two, is named by file, line and field."""

import json
from pathlib import Path

import pytest
from rollout_bench.measure.formats import FORMATS
from rollout_bench.measure.lines import BadFile
from rollout_bench.measure.replay import SAMPLE_BYTES, read_replay, recognised

ENOUGH = 1 << 40


@pytest.fixture
def write(tmp_path):
    def put(*lines, name="lengths.jsonl"):
        path = tmp_path / name
        path.write_text(
            "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
        )
        return path

    return put


def replayed(path, longest=None, memory_bytes=ENOUGH):
    form = recognised(path, None)

    def encode(_row, _column, _where):
        raise AssertionError("no text is there")

    return read_replay(path, form, longest, memory_bytes, encode)


def sample(prompt=10, output=20, group=0, **more):
    return {"prompt_length": prompt, "output_length": output, "group": group, **more}


def test_samples_of_a_group_answer_one_prompt_wherever_they_stand(write):
    path = write(sample(10, 20, "a"), sample(5, 7, "b"), "", sample(10, 30, "a", extra=1))
    load = replayed(path)
    assert (load.name, load.prompts, load.samples, load.batch) == ("replay", 2, (2, 1), 3)
    assert (load.prompt_tokens, load.output_tokens) == ((10, 5), (20, 30, 7))
    assert load.source == "lengths.jsonl"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            {"input_length": 10, "output_length": 2, "group": 0},
            "line 2 has input_length, output_length, group, and no prompt_length; add it",
        ),
        (sample(prompt=-3), "line 2: prompt_length is -3; it must be a whole number, at least 1"),
        (sample(output=0), "line 2: output_length is 0"),
        (sample(output=1.5), "line 2: output_length is 1.5"),
        (sample(output="many"), 'line 2: output_length is "many"'),
        (sample(output=True), "line 2: output_length is true"),
        (sample(prompt=90, group=1), "line 2: prompt_length 90 and output_length 20 make 110 tokens; .* 100"),
        (sample(prompt=11), "line 2: prompt_length is 11, but .* line 1 of the same group has 10"),
        (
            {"prompt_length": 1, "output_length": 1},
            "line 2 has prompt_length, output_length, and no group; give",
        ),
        (sample(group=None), "line 2: group is null"),
        ("[1, 2]", "line 2 is no JSON object"),
        ("{", "line 2 is not JSON"),
    ],
)
def test_what_cannot_be_replayed_is_named_by_line_and_field(write, line, says):
    with pytest.raises(BadFile, match=says) as caught:
        replayed(write(sample(), line), 100)
    assert "lengths.jsonl" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_example_of_the_guide_is_a_workload(write):
    guide = (Path(__file__).parents[2] / "docs/workloads.md").read_text()
    lines = [line for line in guide.splitlines() if line.startswith('    {"prompt_length"')]
    load = replayed(write(*lines))
    assert (load.samples, load.turn, load.delay_seconds) == ((2, 1, 1), (1, 1, 1, 2), (0, 0, 0, 1.5))


def test_more_samples_than_memory_could_hold_end_the_reading_at_their_line(write):
    with pytest.raises(BadFile, match="line 3: more samples than the 8192 bytes of memory"):
        replayed(write(*[sample()] * 5), memory_bytes=2 * SAMPLE_BYTES)


def test_a_file_without_samples_is_refused(write):
    with pytest.raises(BadFile, match="no samples"):
        read_replay(write("", ""), FORMATS["lengths"], None, ENOUGH, None)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "lengths.jsonl"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadFile, match="cannot be read"):
        replayed(path)


@pytest.mark.parametrize(
    ("line", "lengths"),
    [
        (sample(), True),
        ({"prompt_length": 3}, True),
        ({"group": 0}, True),  # whose lengths are then said to be missing
        ({"prompt": "Why?"}, False),
        ({"prompt": "Why?", "group": 0}, False),
        (sample(prompt="Why?"), True),
    ],
)
def test_lengths_are_distinguished_from_prompts_by_the_first_line(write, line, lengths):
    assert recognised(write("", line), None) == (FORMATS["lengths"] if lengths else None)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (
            [{"prompt_len": 3, "output_len": 4}],
            "line 1 has prompt_len, output_len, and none that says what it is; give JSONL: .* prompt_length",
        ),
        (["", {}], r"line 2 has nothing, and none that says what it is; give JSONL: .* \(--chat-column\)"),
        (["plain text"], "line 1 is not JSON: Expecting value at column 1; give JSONL"),
        (["[", " {}", "]"], "line 1 is not JSON: .* it seems to be a JSON array; give JSONL"),
        (["[{}]"], "line 1 is no JSON object; it seems to be a JSON array; give JSONL"),
        (["{", ' "prompt": "Hi"', "}"], "it seems to be a JSON object over many lines; give JSONL"),
        (["9" * 5000], "line 1 cannot be read: Exceeds the limit"),
        (["[" * 100_000], "line 1 cannot be read: maximum recursion depth"),
        ([], "has no line with anything in it"),
    ],
)
def test_a_file_of_neither_is_refused_with_what_it_should_have(write, lines, says):
    """As one of prompts it would be refused for want of a tokenizer, whatever is wrong with it."""
    with pytest.raises(BadFile, match=says) as caught:
        recognised(write(*lines), None)
    assert "\n" not in str(caught.value)


def test_a_mark_of_the_byte_order_is_no_content(write):
    assert recognised(write("\ufeff" + json.dumps(sample())), None) is FORMATS["lengths"]
