"""sizing.py: as many engines as find room, each with a KV cache for its own sequences."""

import json

import pytest
from rollout_bench.measure import machine, sizing
from rollout_bench.measure.sizing import (
    UnknownSize,
    at_once,
    engine_arguments,
    kv_cache_bytes,
    session_arguments,
    split,
)
from rollout_bench.measure.tracked import fixed
from rollout_bench.measure.workload import Workload

from rollout_perf.models import find_model

H100 = {"name": "NVIDIA H100 80GB HBM3", "driver": "580.1", "memory": "81559 MiB"}


@pytest.fixture
def on_gpu(monkeypatch):
    monkeypatch.setattr(machine, "gpus", lambda: [H100])


def test_the_room_for_each_engine_is_what_its_sequences_fill_and_not_the_longest_for_all():
    """Six engines share a GPU: a cache for the longest answer of every sequence would leave no room."""
    load = Workload(prompts=2, prompt_tokens=100, output_tokens=(300, 1000), name="grpo")
    token_bytes = 2 * 28 * (4 // 2) * 128 * 2
    assert kv_cache_bytes("qwen2.5-7b", 2, [load]) == int(1500 * token_bytes * 1.25) + (64 << 20)


def test_the_room_for_experts_and_quantized_weights_is_known_and_else_asked_for(tmp_path, on_gpu):
    config = find_model("qwen2.5-7b").config() | {"num_experts": 8, "quantization_config": {"bits": 4}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    loads = [Workload(prompts=1)]
    assert kv_cache_bytes(str(tmp_path), 2, loads) == kv_cache_bytes("qwen2.5-7b", 2, loads)
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_key_value_heads": [4, 2]}))
    with pytest.raises(
        UnknownSize, match=r"no number as num_key_value_heads; .* --engine-arg kv_cache_memory"
    ):
        session_arguments(str(tmp_path), 2, loads, 2, {})
    assert "kv_cache_memory_bytes" not in session_arguments(str(tmp_path), 2, loads, 1, {})
    assert session_arguments(str(tmp_path), 2, loads, 2, {"gpu_memory_utilization": 0.4})["seed"] == 0


def test_an_engine_needs_no_more_free_memory_than_its_share_since_others_are_there(on_gpu):
    """vLLM refuses to start where less than gpu_memory_utilization is free, 0.92 by itself."""
    loads = fixed("qwen2.5-0.5b", [1, 64, 256])
    assert session_arguments("qwen2.5-0.5b", 1, loads, 4, {})["gpu_memory_utilization"] == 0.225
    assert "gpu_memory_utilization" not in session_arguments("qwen2.5-0.5b", 1, loads, 1, {})


def test_an_engine_can_sleep_where_it_is_to_and_there_is_a_gpu(on_gpu, monkeypatch):
    """Memory is allocated in another way for that."""
    [load] = fixed("qwen2.5-0.5b", [1])
    assert engine_arguments([load, load.asking(interrupt="sleep:1")])["enable_sleep_mode"]
    assert "enable_sleep_mode" not in engine_arguments([load, load.asking(interrupt="pause:keep")])
    monkeypatch.setattr(machine, "gpus", list)
    assert "enable_sleep_mode" not in engine_arguments([load.asking(interrupt="sleep:1")])


def test_as_many_engines_are_up_at_once_as_find_room_on_a_gpu(tmp_path, on_gpu):
    """7B takes about 20 GB; what experts weigh is not known, and each is alone."""
    assert 3 <= at_once("qwen2.5-7b", 1, fixed("qwen2.5-7b", [1, 64])) <= 4
    assert at_once("qwen2.5-0.5b", 1, fixed("qwen2.5-0.5b", [1, 64, 256])) >= 10
    config = find_model("qwen2.5-7b").config() | {"num_experts": 8}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert (
        at_once(str(tmp_path), 1, [Workload(prompts=1)]) == at_once("no-such", 1, [Workload(prompts=1)]) == 1
    )


def test_without_a_gpu_memory_that_is_free_says_how_many(monkeypatch):
    monkeypatch.setattr(machine, "gpus", list)
    loads = fixed("nano", [1, 8])
    for free, engines in ((1 << 30, 1), (26 << 30, 10)):
        monkeypatch.setattr(sizing, "_available_bytes", lambda free=free: free)
        assert at_once("nano", 1, loads) == engines
    assert at_once("nano", 1, loads, sessions=2) == 5


@pytest.mark.parametrize(
    ("most", "sessions"),
    [(4, ["zabc"]), (3, ["zab", "zc"]), (2, ["za", "zb", "zc"]), (1, ["za", "zb", "zc"])],
)
def test_what_does_not_fit_is_split_over_sessions_with_the_reference_in_each(most, sessions):
    assert split("z", "abc", most) == [[*one] for one in sessions]
    assert split("z", "", most) == [["z"]]


def test_items_are_in_as_few_sessions_as_have_room_and_equally_many_in_each():
    assert sizing.shared_out("abcdef", 4) == ["ace", "bdf"]
    assert sizing.shared_out("abc", 1) == sizing.shared_out("abc", 0) == ["a", "b", "c"]
    assert sizing.shared_out("", 2) == []
