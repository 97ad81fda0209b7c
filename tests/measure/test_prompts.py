"""prompts.py: chats of a file through a tokenizer; what is no chat is named by line, or row, and column."""

import json

import pytest
from rollout_bench.measure.lines import BadFile
from rollout_bench.measure.prompts import read_prompts


@pytest.fixture
def write(tmp_path):
    def put(*lines, name="chats.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    return put


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
    path = write({"prompt": chat}, {"prompt": "Hi"})
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


@pytest.mark.parametrize("row", [{"messages": CHAT}, {"text": "Hi", "id": 3}, {"prompt": "Hi", "text": "Ho"}])
def test_the_column_is_found_where_none_is_named(write, row):
    assert read_prompts(write(row), None, 1, Tokenizer()) == [HI]


def test_prompts_begin_again_where_the_file_ends(write):
    path = write({"q": "Hi"}, {"q": "Hu"})
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
    parquet.write_table(pyarrow.table({"id": [1], "messages": [CHAT]}), path)
    assert read_prompts(path, None, 1, Tokenizer()) == [HI]
    parquet.write_table(pyarrow.table({"prompt": ["<image> Hi"], "images": [["a.png"]]}), path)
    with pytest.raises(BadFile, match="row 1: images is not empty"):
        read_prompts(path, "prompt", 1, Tokenizer())
    path.write_bytes(b"no parquet")
    with pytest.raises(BadFile, match="is no Parquet file"):
        read_prompts(path, "prompt", 1, Tokenizer())
