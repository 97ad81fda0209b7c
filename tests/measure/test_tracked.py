"""tracked.py: tracked.toml is the user's file: what it says is what is tracked, and a mistake is one line."""

from pathlib import Path

import pytest
from rollout_bench.errors import UsageError
from rollout_bench.measure.tracked import choose_set, first_of, read_tracked

from benchmarks import rollout

ROOT = Path(__file__).resolve().parents[2]
MINE = """
[mine]
flavour = "gpu"
preset = "models/mine"
tensor_parallel_size = 2
engine_arguments = { gpu_memory_utilization = 0.5 }
paths.default = ["zmq", "vllm-mp"]
paths.weekly = ["ray"]
classes.Mine = { workload = "fixed", batches = [1, 16], output_tokens = 256 }
classes.MineGrpo = { workload = "grpo", prompts = 4 }
classes.MineScored = { workload = "grpo", prompts = 4, logprobs = 0 }

[nano]
flavour = "cpu"
preset = "nano"
paths.default = ["zmq"]
classes.Nano = { workload = "fixed", batches = [8] }
"""


def tracked(folder, text):
    (folder / "tracked.toml").write_text(text)
    return read_tracked(folder)


def test_prompts_of_a_small_model_have_tokens_that_it_knows(tmp_path):
    """A model with 514 words failed at every commit: a prompt had the token 1983."""
    before = tracked(tmp_path, MINE)["mine"].workloads[1]
    (tmp_path / "models" / "mine").mkdir(parents=True)
    config = tmp_path / "models" / "mine" / "config.json"
    config.write_text('{"vocab_size": 514}')
    small = tracked(tmp_path, MINE)
    assert 500 < max(map(max, small["mine"].workloads[1].token_ids())) < 514
    assert max(map(max, small["nano"].workloads[0].token_ids())) > 514
    config.write_text('{"vocab_size": 150000}')
    assert tracked(tmp_path, MINE)["mine"].workloads[1].fingerprint() == before.fingerprint()


def test_a_model_of_ones_own_is_a_table(tmp_path):
    mine = tracked(tmp_path, MINE)["mine"]
    assert (mine.preset, mine.tensor_parallel_size) == (str(tmp_path / "models" / "mine"), 2)
    names = [("fixed", 1), ("fixed", 16), ("grpo", 64), ("grpo-logprobs-0", 64)]
    assert [(load.name, load.batch) for load in mine.workloads] == names
    assert mine.classes["MineScored"].workloads[0].asked == {"logprobs": 0}
    assert {load.output_tokens for load in mine.classes["Mine"].workloads} == {256}
    assert (mine.paths, mine.sets["weekly"], mine.part) == (["vllm-mp", "zmq", "ray"], ["ray"], "-mine")
    others = MINE.replace('["ray"]', '["my.adapter:start", "ray", "zmq@http"]')
    paths = tracked(tmp_path, others)["mine"].paths
    assert paths == ["vllm-mp", "zmq", "zmq@http", "ray", "my.adapter:start"]
    made = rollout._classes("mine", tracked(tmp_path, others)["mine"])
    assert hasattr(made["Mine"], "track_way_in_seconds")


def test_asv_gets_a_class_of_each_of_its_classes(tmp_path):
    found = tracked(tmp_path, MINE)
    made = rollout._classes("mine", found["mine"])
    assert made["Mine"].params == [["vllm-mp", "zmq", "ray"], [1, 16]]
    assert made["MineGrpo"].params == [["vllm-mp", "zmq", "ray"]]
    assert hasattr(made["MineGrpo"], "track_tail_share")
    other = tracked(tmp_path, MINE.replace("0.5", "0.6"))["mine"]
    assert rollout._classes("mine", other)["Mine"].version != made["Mine"].version
    assert rollout._classes("nano", found["nano"])["Nano"].version == "1-965b9db97627"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[mine]", "[mine", "tracked.toml is no TOML: "),
        ('flavour = "gpu"', 'flavour = "tpu"', "[mine] flavour is 'tpu'; it must be cpu or gpu"),
        ('flavour = "gpu"', 'flavour = "cpu"', "no table has the flavour 'gpu'"),
        ('flavour = "gpu"', "", "[mine] has no flavour; it must be cpu or gpu"),
        ("tensor_parallel_size = 2", "tp = 2", "[mine] has the key 'tp'; known: flavour, preset"),
        ("_size = 2", "_size = true", "tensor_parallel_size is True; it must be a whole number of 1 or more"),
        ('["ray"]', '["pigeon"]', "[mine] paths weekly is ['pigeon']; it must be a list of paths: sync, "),
        ('["ray"]', '["ray@pigeon"]', "each may have an entry: PATH@zmq, PATH@zmq-plain, PATH@http, "),
        ('["ray"]', '"ray"', "[mine] paths weekly is 'ray'; it must be a list of paths: sync, "),
        ('["ray"]', "[]", "[mine] paths weekly is []; it must be a list of paths: sync, "),
        ('["ray"]', '["ray", "zmq", "ray"]', "MODULE:FUNCTION; one or more, each once"),
        ('["ray"]', '["ray", "ray@"]', "[mine] paths weekly is ['ray', 'ray@']; it must be a list of paths"),
        ("[1, 16]", "[1, 16, 16]", "Mine batches is [1, 16, 16]; it must be a list of rising whole numbers"),
        ("classes.Mine =", "classes.mine =", "[mine] has the class 'mine'"),
        ("classes.Mine =", "classes.None =", "[mine] has the class 'None'; it must be a name of Python as"),
        ("classes.Mine =", "classes.True =", "[mine] has the class 'True'"),
        ("classes.Mine =", 'classes."A-B" =', "[mine] has the class 'A-B'"),
        ("classes.MineGrpo =", "classes.Nano =", "the class Nano is of [mine] and of [nano]: rename one"),
        (
            '"fixed", batches = [1, 16]',
            '"fast"',
            "workload is 'fast'; it must be fixed, grpo, verl, turns, limit",
        ),
        ("batches = [1, 16], ", "", "Mine has no batches; it must be a list of rising whole numbers"),
        ("[1, 16]", "[16, 1]", "Mine batches is [16, 1]; it must be a list of rising whole numbers"),
        (
            "logprobs = 0",
            "logprobs = -1",
            "MineScored logprobs is -1; it must be a whole number of 0 or more",
        ),
        (
            "logprobs = 0",
            'arrival = "window:65"',
            "MineScored: arrival is window:65; a window is of 1 to all 64",
        ),
        ("logprobs = 0", "samples = 16", "has the workloads fixed, grpo, grpo; each may be there"),
        ("prompts = 4", "batch = 4", "MineGrpo has the key 'batch'; known: workload, prompts, samples"),
        (
            '"grpo", prompts = 4',
            '"limit", batches = [8]',
            "has the workloads fixed, fixed, grpo-logprobs-0; each may be there",
        ),
        ('"models/mine"', '"qwen2.5-7b"', "its name must be qwen2.5-7b or begin with qwen2.5-7b-"),
        ("[mine]", '["my/model"]', "a table's name, of which files are named, is of letters"),
        ("[mine]", "mine = 1\n[other]", "[mine] is 1; it must be a table"),
    ],
)
def test_a_mistake_is_one_line_that_says_where_and_what_is_allowed(old, new, says, tmp_path):
    with pytest.raises(UsageError) as raised:
        tracked(tmp_path, MINE.replace(old, new, 1))
    assert says in str(raised.value)
    assert str(raised.value).startswith(str(tmp_path / "tracked.toml"))
    assert "\n" not in str(raised.value)


def test_what_this_checkout_tracks_by_default_is_of_one_gpu_or_none():
    """Baselines and the search for the limit on a GPU are asked for: a commit is to take minutes."""
    found = read_tracked(ROOT)
    assert (first_of(found, False), first_of(found, True)) == ("nano", "qwen2.5-0.5b")
    default = {name: one.sets["default"] for name, one in found.items() if "default" in one.sets}
    assert [name for name in default if found[name].flavour == "gpu"] == ["qwen2.5-0.5b", "qwen2.5-7b-fixed"]
    assert all(found[name].tensor_parallel_size == 1 for name in default)
    assert not {"verl-zmq", "verl-ray"} & {path for paths in default.values() for path in paths}
    with pytest.raises(UsageError, match=r"--set is 'slow'; sets of tracked\.toml: quick, default, extended"):
        choose_set(found, "slow", "--set")
