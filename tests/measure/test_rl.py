"""rl.py: lengths as reinforcement learning makes them, drawn once and the same everywhere."""

import json
import math
from dataclasses import replace
from statistics import median

import pytest
from rollout_bench.measure import rl
from rollout_bench.measure.rl import grpo, gsm8k_prompt_lengths, long_tail, verl
from rollout_bench.measure.sizing import CONCURRENCY, engine_arguments
from rollout_bench.measure.tracked import GRPO, fixed
from rollout_bench.measure.workload import Workload


def test_prompts_are_the_questions_of_gsm8k_in_file_order():
    assert len(gsm8k_prompt_lengths()) == 7473
    assert gsm8k_prompt_lengths()[:5] == (38, 35, 61, 55, 26)
    assert grpo().prompt_tokens == gsm8k_prompt_lengths()[:128]
    assert json.loads(rl._GSM8K.read_text())["licence"].startswith("MIT")


def test_prompts_begin_again_where_the_file_ends_and_are_cut_at_their_cap():
    many = grpo(prompts=7475, samples=1, prompt_cap=36)
    assert many.prompt_tokens[:3] == (*many.prompt_tokens[7473:], 36) == (36, 35, 36)


def test_grpo_is_128_prompts_of_16_samples_with_lengths_of_their_own():
    load = grpo()
    assert (load.prompts, load.batch, len(load.output_tokens)) == (128, 2048, 2048)
    assert (min(load.output_tokens), max(load.output_tokens)) == (5, 1024)
    assert load.tokens == sum(load.output_tokens) == 527857


def test_verl_has_the_caps_of_its_own_script():
    load = verl()
    assert (load.name, load.batch, max(load.output_tokens)) == ("verl", 2048, 4096)
    assert load.prompt_tokens == grpo().prompt_tokens  # no question has 4096 tokens


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.5, 100),  # the median is a sixth of the cap of 600
        (0.841345, 272),  # one sigma of 1 above: 100 e
        (0.158655, 37),  # and below: 100 / e
        (0.97, 600),  # above 600 / 100 = e^1.79, which 3.7 % are: cut at the cap
        (1e-9, 1),  # never nothing: 100 e^-4.9 is 0.8
    ],
)
def test_an_answer_is_as_long_as_its_share_of_the_distribution_says(share, expected, monkeypatch):
    class Drawn:
        def __init__(self, seed):
            pass

        def randrange(self, parts):
            return int(share * parts)

    monkeypatch.setattr(rl.random, "Random", Drawn)
    assert long_tail(2, 600, 0) == (expected, expected)


def test_the_tail_is_as_long_as_stated():
    """The 99th percentile ten times the median, and 3.7 % at the cap."""
    lengths = sorted(long_tail(100_000, 60_000, 1))
    assert median(lengths) == pytest.approx(10_000, rel=0.02)
    assert lengths.count(60_000) / 1e5 == pytest.approx(0.037, abs=0.003)
    assert math.exp(2.326) == pytest.approx(10.2, abs=0.05)


def test_lengths_are_drawn_once():
    assert long_tail(50, 512, 0) == long_tail(50, 512, 0) != long_tail(50, 512, 1)


@pytest.mark.parametrize(
    ("load", "fingerprint"),
    [
        (grpo(), "f44ba105e593"),
        (verl(), "6ea99ce80ad4"),
        (grpo(**GRPO["nano"]), "eb4571117c75"),
        (grpo(prompts=64, output_cap=512), "c222ba53da2d"),
    ],
)
def test_fingerprints_are_pinned(load, fingerprint):
    """They are in asv's versions: changed by accident, or by a machine's arithmetic, a history would end."""
    assert load.fingerprint() == fingerprint


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"output_cap": 0}, "output_tokens, the cap, is 0; it must be at least 1"),
        ({"prompt_cap": 0}, "prompt_tokens, the cap, is 0"),
        ({"prompts": 0}, "prompts is 0"),
        ({"samples": -1}, "samples is -1"),
    ],
)
def test_nothing_to_do_is_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        grpo(**wrong)


def test_samples_of_a_prompt_may_share_its_prefix_and_no_more_run_at_once_than_stated(monkeypatch):
    arguments = engine_arguments([grpo()])
    assert arguments["enable_prefix_caching"] is True
    assert arguments["max_num_seqs"] == CONCURRENCY
    assert engine_arguments([grpo(**GRPO["nano"])])["max_num_seqs"] == 32
    real = grpo(prompts=1, samples=2, ids=[[1, 2, 3]])
    assert engine_arguments([real])["enable_prefix_caching"] is False
    trace = Workload(prompts=1, name="replay")
    assert engine_arguments([trace])["enable_prefix_caching"] is False
    assert engine_arguments([replace(trace, blocks=((7,),))])["enable_prefix_caching"] is True


def test_graphs_are_captured_for_batches_that_shrink(monkeypatch):
    monkeypatch.setattr("rollout_bench.measure.sizing.machine.gpus", lambda: [{"name": "H100"}])
    assert engine_arguments(fixed("qwen2.5-0.5b", [1, 64]))["cudagraph_capture_sizes"] == [1, 64]
    mixed = [grpo(prompts=2, samples=4), *fixed("qwen2.5-0.5b", [100])]
    assert engine_arguments(mixed)["cudagraph_capture_sizes"] == [1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 100]
