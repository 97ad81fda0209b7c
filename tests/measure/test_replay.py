"""replay.py: files of lengths and of prompts; what is wrong is named by file, line and field."""

import json

import pytest
from rollout_bench.measure.replay import SAMPLE_BYTES, BadFile, is_replay, read_prompts, read_replay

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


def sample(prompt=10, output=20, group=0, **more):
    return {"prompt_length": prompt, "output_length": output, "group": group, **more}


def test_samples_of_a_group_answer_one_prompt_wherever_they_stand(write):
    path = write(sample(10, 20, "a"), sample(5, 7, "b"), "", sample(10, 30, "a", extra=1))
    load = read_replay(path, None, ENOUGH)
    assert (load.name, load.prompts, load.samples, load.batch) == ("replay", 2, (2, 1), 3)
    assert (load.prompt_tokens, load.output_tokens) == ((10, 5), (20, 30, 7))
    assert load.source == "lengths.jsonl"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            {"input_length": 10, "output_length": 2, "hash_ids": [0]},  # as Mooncake's traces have it
            "line 2 has input_length, output_length, hash_ids, and no prompt_length; give JSONL",
        ),
        (sample(prompt=-3), "line 2: prompt_length is -3; it must be a whole number, at least 1"),
        (sample(output=0), "line 2: output_length is 0"),
        (sample(output=1.5), "line 2: output_length is 1.5"),
        (sample(output="many"), 'line 2: output_length is "many"'),
        (sample(output=True), "line 2: output_length is true"),
        (sample(prompt=90, group=1), "line 2: prompt_length 90 and output_length 20 make 110 tokens; .* 100"),
        (sample(prompt=11), "line 2: prompt_length is 11, but line 1 of the same group has 10"),
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
        read_replay(write(sample(), line), 100, ENOUGH)
    assert "lengths.jsonl" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_more_samples_than_memory_could_hold_end_the_reading_at_their_line(write):
    with pytest.raises(BadFile, match="line 3: more samples than the 8192 bytes of memory"):
        read_replay(write(*[sample()] * 5), None, 2 * SAMPLE_BYTES)


def test_a_file_without_samples_is_refused(write):
    with pytest.raises(BadFile, match="no samples"):
        read_replay(write("", ""), None, ENOUGH)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "lengths.jsonl"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadFile, match="cannot be read"):
        read_replay(path, None, ENOUGH)


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
    assert is_replay(write("", line), "prompt") == lengths


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (
            [{"prompt_len": 3, "output_len": 4}],
            "line 1 has prompt_len, output_len, and no column prompt; give JSONL: .* prompt_length",
        ),
        (["", {}], r"line 2 has nothing, and no column prompt; give JSONL: .* \(--chat-column\)"),
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
        is_replay(write(*lines), "prompt")
    assert "\n" not in str(caught.value)


def test_csv_is_named_with_its_columns(write):
    path = write("TIMESTAMP,ContextTokens,GeneratedTokens", "0,30,4", name="azure.csv")
    with pytest.raises(
        BadFile, match="it seems to be CSV with TIMESTAMP,ContextTokens,GeneratedTokens; give JS"
    ):
        is_replay(path, "prompt")


def test_a_mark_of_the_byte_order_is_no_content(write):
    assert is_replay(write("\ufeff" + json.dumps(sample())), "prompt")


class Tokenizer:
    """A token a character, with the role before and a 0 to begin the answer."""

    def apply_chat_template(self, chat, add_generation_prompt, return_dict):
        assert add_generation_prompt
        assert not return_dict
        if chat[0]["content"] == "\\0":
            return []
        if chat[0]["role"] == "system" and chat[0]["content"] == "no":
            raise LookupError("no system\nturn, please")
        return [ord(sign) for turn in chat for sign in turn["role"][0] + turn["content"]] + [0]


HI = [ord("u"), ord("H"), ord("i"), 0]


def test_prompts_go_through_the_chat_template(write):
    chat = [{"role": "system", "content": "x"}, {"role": "user", "content": "Hi"}]
    path = write({"prompt": chat}, {"prompt": "Hi"}, name="chats.jsonl")
    assert read_prompts(path, "prompt", 2, Tokenizer()) == [[ord("s"), ord("x"), *HI], HI]


CHAT = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("chat", "content"),
    [
        (json.dumps(CHAT), "Hi"),  # as ROLL keeps them
        (
            [{"role": "user", "content": [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]}],
            "H\ni",
        ),
        ([{"role": "user", "content": None, "tool_calls": None}], ""),
        ("[1, 2]", "[1, 2]"),
        ("[role", "[role"),
    ],
)
def test_a_chat_is_read_in_every_form_in_which_data_sets_have_it(write, chat, content):
    """Taken for a text, or printed as a list, it has another length than training sees."""
    (ids,) = read_prompts(write({"prompt": chat, "images": []}), "prompt", 1, Tokenizer())
    assert ids == [ord("u"), *map(ord, content), 0]


def test_prompts_begin_again_where_the_file_ends(write):
    path = write({"q": "Hi"}, {"q": "Hu"}, name="chats.jsonl")
    first, second, third = read_prompts(path, "q", 3, Tokenizer())
    assert first == third == HI != second


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ({"question": "Hi"}, "line 1: prompt is missing; it has question"),
        ({"prompt": 3}, "line 1: prompt is no chat"),
        ({"prompt": []}, "line 1: prompt is no chat"),
        ({"prompt": [{"role": "user"}]}, "line 1: prompt is no chat"),
        ({"prompt": json.dumps([{"role": "user"}])}, "line 1: prompt is no chat"),
        ({"prompt": CHAT, "images": ["a.png"]}, "line 1: images is not empty; only text can be rolled out"),
        (
            {"prompt": [*CHAT, {"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "line 1: prompt turn 2 has a part of type image_url; only text can",
        ),
        ({"prompt": [{"role": "user", "content": 3}]}, "line 1: prompt turn 1 has a part of type int"),
        (
            {"prompt": [{"role": "system", "content": "no"}]},
            "line 1: prompt does not pass the model's chat template: LookupError: no system",
        ),
        ({"prompt": "\\0"}, "line 1: prompt has no tokens"),
        ({"prompt": "Hello"}, "line 1: prompt has 7 tokens; 6 fit beside the answer"),
    ],
)
def test_what_is_no_prompt_is_named_by_line_and_column(write, line, says):
    with pytest.raises(BadFile, match=says):
        read_prompts(write(line), "prompt", 1, Tokenizer(), 6)


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(BadFile, match="needs pyarrow"):
        read_prompts(tmp_path / "chats.parquet", "prompt", 1, Tokenizer())


def test_prompts_come_from_a_parquet_file(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "chats.parquet"
    parquet.write_table(pyarrow.table({"prompt": [[{"role": "user", "content": "Hi"}], None]}), path)
    assert read_prompts(path, "prompt", 1, Tokenizer()) == [HI]
    with pytest.raises(BadFile, match="row 2: prompt is no chat"):
        read_prompts(path, "prompt", 2, Tokenizer())
    with pytest.raises(BadFile, match="question is missing; it has prompt"):
        read_prompts(path, "question", 1, Tokenizer())
    parquet.write_table(pyarrow.table({"prompt": ["<image> Hi"], "images": [["a.png"]]}), path)
    with pytest.raises(BadFile, match="row 1: images is not empty"):
        read_prompts(path, "prompt", 1, Tokenizer())
    path.write_bytes(b"no parquet")
    with pytest.raises(BadFile, match="is no Parquet file"):
        read_prompts(path, "prompt", 1, Tokenizer())
