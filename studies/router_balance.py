"""How evenly a mixture of experts with random weights spreads its tokens, by what its routers really choose.

    python -m studies.router_balance qwen3-moe-1b    # on the CPU 9 GB and two minutes

Trained routers are balanced by their loss: a preset that sent all tokens to a few experts would read less of
the weights than a real model does, and measure something else. An engine in this process answers random
prompts; counted are the experts that the router of each layer chose for the answers' tokens.
"""

import argparse
import os
import random
from typing import Any

import numpy as np
from rollout_bench.report.table import table

from rollout_perf.models import Model, find_model

BATCH, PROMPT_TOKENS, OUTPUT_TOKENS = 32, 32, 32


def watch(model: Any) -> int:
    """Have the model keep what its routers choose; how many there are. Called by vLLM in the worker."""
    model.chosen = []
    for name, module in model.named_modules():
        if name.endswith("mlp.gate"):
            layer: list[np.ndarray] = []
            model.chosen.append(layer)
            model_config = model.config
            module.register_forward_hook(
                lambda _module, _arguments, out, layer=layer, most=model_config.num_experts_per_tok: (
                    layer.append(out[0].float().topk(most, -1).indices.cpu().numpy())
                )
            )
    return len(model.chosen)


def choices(model: Model) -> np.ndarray:
    """The experts chosen, shape (layers, engine steps, batch, experts a token); of decoding steps alone."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    from vllm import LLM, SamplingParams

    engine = LLM(
        **model.engine_arguments(), enforce_eager=True, max_model_len=512, max_num_seqs=BATCH, seed=0
    )
    assert engine.apply_model(watch)[0]
    draw = random.Random(0)
    prompts = [
        {"prompt_token_ids": [draw.randrange(2000) for _ in range(PROMPT_TOKENS)]} for _ in range(BATCH)
    ]
    engine.generate(prompts, SamplingParams(max_tokens=OUTPUT_TOKENS, ignore_eos=True, detokenize=False))
    [chosen] = engine.apply_model(lambda one: one.chosen)
    return np.array([[step for step in layer if len(step) == BATCH] for layer in chosen])


def main() -> None:
    """Print a row for each layer."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("preset")
    model = find_model(parser.parse_args().preset)
    config = model.config()
    experts, each = config["num_experts"], config["num_experts_per_tok"]
    rows = []
    for number, steps in enumerate(choices(model)):
        load = np.bincount(steps.ravel(), minlength=experts)
        load = load / load.mean()
        distinct = np.mean([len(np.unique(step)) for step in steps])
        rows.append(
            [str(number), f"{load.max():.2f}", f"{load.min():.2f}", f"{load.std():.2f}", f"{distinct:.1f}"]
        )
    uniform = experts * (1 - (1 - each / experts) ** BATCH)
    caption = (
        f"{model.name}: tokens of an expert / their mean over {experts} experts, and how many experts a "
        f"step of {BATCH} tokens reads; {uniform:.1f} if each token drew its {each} at random"
    )
    titles = ["layer", "most", "least", "standard deviation", "experts read"]
    print(table(titles, rows, range(5), caption=caption))


if __name__ == "__main__":
    main()
