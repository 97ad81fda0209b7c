"""A model folder of the user's own is rolled out with its real weights and its tokenizer."""

import asyncio

import pytest

from rollout_perf import Sampling, open_rollout

pytestmark = pytest.mark.engine

VOCABULARY = 514
TOKENS = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny Qwen2 with a word tokenizer, saved as Hugging Face models are."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    path = tmp_path_factory.mktemp("model") / "tiny"
    words = {f"w{i}": i for i in range(VOCABULARY - 2)} | {"<unk>": VOCABULARY - 2, "<eos>": VOCABULARY - 1}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<eos>").save_pretrained(
        path
    )
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=128,
        eos_token_id=VOCABULARY - 1,
        bos_token_id=None,
    )
    Qwen2ForCausalLM(config).save_pretrained(path)
    return path


def greedy_by_transformers(folder, prompt):
    """What the weights in the folder say, by another implementation."""
    import torch
    from transformers import Qwen2ForCausalLM

    model = Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.float32)
    answer = model.generate(torch.tensor([prompt]), max_new_tokens=TOKENS, do_sample=False)
    return answer[0, len(prompt) :].tolist()


async def rolled_out(folder, prompt):
    async with open_rollout(
        str(folder), "sync", enforce_eager=True, dtype="float32", kv_cache_memory_bytes=64 << 20
    ) as rollout:
        (sequence,) = await rollout.generate([prompt], Sampling(max_tokens=TOKENS, temperature=0))
        return sequence


def test_its_own_weights_and_tokenizer_are_used(folder):
    prompt = [1, 2, 3]
    sequence = asyncio.run(rolled_out(folder, prompt))
    assert sequence.token_ids == greedy_by_transformers(folder, prompt)
    assert sequence.text is not None
    assert f"w{sequence.token_ids[0]}" in sequence.text
