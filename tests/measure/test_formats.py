"""formats.py: traces as they are published are read as what they say; the lines are like theirs."""

import json

import pytest
from rollout_bench.measure.lines import BadFile
from rollout_bench.measure.replay import read_replay, recognised

OWN = {"prompt_length": 40, "output_length": 5, "group": 0, "session": "a", "turn": 1, "arrival_seconds": 3}
MOONCAKE = {"timestamp": 3000, "input_length": 915, "output_length": 355, "hash_ids": [0, 462]}
BAILIAN = {"chat_id": 159, "parent_chat_id": -1, "timestamp": 61.114, "input_length": 21, "output_length": 2,
           "type": "text", "turn": 1, "hash_ids": [1089, 1090]}  # fmt: skip
ADDS = {"session_id": "abc-123", "input_length": 300, "output_length": 40}
AIPERF = {"session_id": "s", "turns": [{"text": "Hello", "output_length": 4, "timestamp": 500},
                                       {"text": "Hi", "delay": 1000, "output_length": 2}]}  # fmt: skip
CHAT = {"messages": [{"role": "user", "content": "Hi"}], "output_length": 4, "timestamp": 10}
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens"
AZURE_IMAGES = "TIMESTAMP,NumImages,ContextTokens,GeneratedTokens"
BURST = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type"


@pytest.fixture
def read(tmp_path):
    def read(*lines, longest=None, column=None, told=None, output_tokens=None):
        path = tmp_path / "trace"
        path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
        form = recognised(path, column, told)
        return read_replay(path, form, longest, 1 << 40, encode, output_tokens)

    def encode(row, column, _where):
        """A token a letter, and one for each turn."""
        chat = row[column] if isinstance(row[column], list) else [{"content": row[column]}]
        return [100 + ord(letter) for turn in chat for letter in turn["content"] + "|"]

    return read


@pytest.mark.parametrize(
    ("lines", "form", "lengths", "more"),
    [
        (
            [OWN, {"prompt_length": 60, "output_length": 1, "group": 1, "session": "a", "turn": 2,
                   "delay_seconds": 0.5, "hash_ids": [4], "arrival_seconds": None}],
            "lengths",
            [(40, 5), (60, 1)],
            {"session": ("a", "a"), "turn": (1, 2), "delay_seconds": (0, 0.5), "arrival_seconds": (0, None),
             "blocks": ((), (4,)), "block_tokens": 16},
        ),
        (
            [MOONCAKE, MOONCAKE | {"timestamp": 5999, "hash_ids": [0, 463]}],
            "mooncake",
            [(915, 355), (915, 355)],
            {"arrival_seconds": (0, 2.999), "blocks": ((0, 462), (0, 463)), "block_tokens": 512},
        ),
        (
            [ADDS, ADDS | {"delay": 2, "input_length": 150, "output_length": 20, "hash_ids": [7]}],
            "mooncake",
            [(300, 40), (490, 20)],
            {"session": ("abc-123",) * 2, "turn": (1, 2), "delay_seconds": (0, 0.002), "blocks": ((), (7,)),
             "arrival_seconds": None},
        ),
        ([BAILIAN | {"type": "thinking"}], "bailian", [(21, 2)], {"block_tokens": 16, "session": None}),
        ([BAILIAN | {"hash_ids": ["f0", "a1"]}], "bailian", [(21, 2)], {"blocks": (("f0", "a1"),)}),
        (
            [AIPERF],
            "aiperf",
            [(6, 4), (14, 2)],  # "Hello|", its answer, "|" and "Hi|"
            {"session": ("s", "s"), "delay_seconds": (0, 1), "arrival_seconds": (0, None), "ids": None},
        ),
        ([CHAT, CHAT | {"timestamp": 20}], "chats", [(3, 4)] * 2, {"arrival_seconds": (0, 0.01)}),
        (
            [AZURE, "2023-11-16 18:15:46.6805900,374,44", "2023-11-16 18:15:50.9951690,396,109"],
            "azure",
            [(374, 44), (396, 109)],
            {"arrival_seconds": (0, 4.314579)},
        ),
        (['"TIMESTAMP","ContextTokens","GeneratedTokens"', '"2023-11-16",3,4'], "azure", [(3, 4)], {}),
        ([AZURE, "2024-05-10 00:00:00.009930+00:00,2162,5"], "azure", [(2162, 5)], {"arrival_seconds": (0,)}),
        ([AZURE_IMAGES, "2024-10-15 00:00:00,0,374,44"], "azure", [(374, 44)], {}),
        (
            [BURST, "5,ChatGPT,472,18,490,Conversation log", "45.5,GPT-4,1087,230,1317,API log"],
            "burstgpt",
            [(472, 18), (1087, 230)],
            {"arrival_seconds": (0, 40.5)},
        ),
    ],
)  # fmt: skip
def test_a_published_trace_is_read_as_it_says(read, lines, form, lengths, more):
    load = read(*lines)
    assert list(zip(load.prompt_lengths(), load.output_lengths(), strict=True)) == lengths
    assert {name: getattr(load, name) for name in more} == more
    assert [len(prompt) for prompt in load.token_ids()] == load.prompt_lengths()
    assert read(*lines, told=form) == load


def test_real_prompts_with_lengths_are_rolled_out_as_they_are(read):
    assert read(CHAT).ids == ((172, 205, 224),)
    assert read({"q": "Hi", "output_length": 3}, column="q").ids == ((172, 205, 224),)


def test_lengths_that_a_file_does_not_say_are_given_for_all(read):
    assert read({"input_length": 3}, output_tokens=9).output_lengths() == [9]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (
            [OWN, OWN | {"arrival_seconds": 2, "session": "b"}],
            "line 2: arrival_seconds goes back by 1 s, from .* line 1; sort",
        ),
        (
            [OWN, OWN | {"arrival_seconds": 2, "turn": 2, "prompt_length": 50, "group": 1}],
            "line 2: arrival_seconds goes back",
        ),
        (
            [OWN, OWN | {"arrival_seconds": None, "session": "b"}],
            "line 2 has no arrival_seconds, and .* line 1 has one",
        ),
        ([OWN | {"arrival_seconds": "soon"}], 'line 1: arrival_seconds is "soon"; give a number, or a date'),
        ([OWN | {"arrival_seconds": -1}], "line 1: arrival_seconds is -1; it must be a number, at least 0"),
        ([OWN | {"turn": 2}], "line 1: turn is 2, and session a has no turn 1 right before it"),
        (
            [OWN, OWN | {"turn": 3, "prompt_length": 90}],
            "line 2: turn is 3, and session a has no turn 2 right before",
        ),
        ([OWN | {"session": None}], "line 1 has turn, and no session; add it"),
        ([OWN | {"session": [1]}], r"line 1: session is \[1\]; give a number or a name"),
        (
            [OWN, OWN | {"turn": 2, "group": 1, "prompt_length": 45}],
            "line 2: prompt_length is 45, but the turn before sent 40 and was",
        ),
        (
            [
                OWN,
                OWN | {"turn": 2, "prompt_length": 50, "group": "b"},
                OWN | {"session": "z"},
                OWN | {"session": "z", "turn": 2, "prompt_length": 50, "group": "b"},
            ],
            "line 4: group is b, which .* line 2 has too; a later turn goes on with one answer",
        ),
        (
            [OWN | {"hash_ids": [1]}],
            "line 1: hash_ids has 1 blocks of 16 tokens, and 40 tokens .* take 3; .* --block-tok",
        ),
        ([OWN | {"hash_ids": [1.5]}], r"line 1: hash_ids is \[1.5\]; give a list of numbers or names"),
        (
            [OWN | {"hash_ids": [1, 2, 3]}, OWN | {"session": "b", "hash_ids": [1, 2, 4]}],
            "line 2: prompt_length .* the same hash_ids",
        ),
        ([MOONCAKE, MOONCAKE | {"input_length": 0}], "line 2: input_length is 0; it must be a whole number"),
        (
            [MOONCAKE, {"input_length": 3}],
            "line 2 has input_length, and no output_length; add it, or give --output-tokens",
        ),
        (
            [MOONCAKE | {"input_length": 1000, "hash_ids": [1, 2]}],
            "line 1: input_length 1000 and output_length 355 make 1355 tokens; .* 1280",
        ),
        ([MOONCAKE | {"delay": 3}], "line 1 has delay, and no session_id; add it"),
        (
            [BAILIAN | {"type": "image"}],
            'line 1: type is "image"; only text can be rolled out: leave the line out',
        ),
        (
            [AIPERF | {"turns": [{"text": "Look", "image": "a.png", "output_length": 1}]}],
            "line 1 turn 1: image is .* only text",
        ),
        (
            [AIPERF | {"turns": [{"texts": ["a", "b"], "output_length": 1}]}],
            "line 1 turn 1 has texts, output_length, and no text; one text a turn",
        ),
        ([AIPERF | {"turns": [{"text": "Hello"}]}], "line 1 turn 1 has text, and no output_length; add it"),
        ([AIPERF | {"turns": []}], "line 1: turns is no list of turns"),
        ([AIPERF, AIPERF], "line 2 turn 1: text is 6, but the turn before sent 14 and was answered with 2"),
        (
            [CHAT | {"session_id": "s"}],
            "line 1: session_id beside messages; give a session as one line with turns",
        ),
        (
            [CHAT, {"text": "Hi", "output_length": 1}],
            "line 2 has text, output_length, and no messages, which the first line has",
        ),
        ([CHAT | {"images": ["a.png"]}], "line 1: images is .* only text can be rolled out"),
        (
            [AZURE, "2023-11-16 18:15:46,374,44", "2023-11-16 18:15:45,374,44"],
            "line 3: TIMESTAMP goes back by 1 s",
        ),
        ([AZURE, "2023-11-16 18:15:46,374"], "line 2 has 2 cells; the header has 3: TIMESTAMP, Con"),
        (
            [AZURE_IMAGES, "2024-10-15 00:00:00,2,374,44"],
            "line 2: NumImages is 2; only text can be rolled out",
        ),
        (
            [BURST, "5,ChatGPT,472,0,472,API log"],
            "line 2: Response tokens is 0; .*: take the files without failures",
        ),
        (["a,b", "1,2"], "line 2 has a, b, and none that says what it is; give JSONL: "),
        (
            [{"input": "Hi", "output": "Ho", "step": 1}],
            "line 1 has input, output, step; make .* with `rollout-perf record`",
        ),
    ],
)
def test_what_a_trace_does_not_say_is_refused_by_line_and_field(read, lines, says):
    with pytest.raises(BadFile, match=says) as caught:
        read(*lines, longest=1280)
    assert "\n" not in str(caught.value)


def test_a_length_that_the_file_says_is_not_given_again(read):
    with pytest.raises(BadFile, match="line 1: output_length is 355; --output-tokens is for a file without"):
        read(MOONCAKE, output_tokens=3)
