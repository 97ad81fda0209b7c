"""The workload that a command's line asks for: by name, or from a trace or a file of prompts."""

import argparse
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from rollout_perf.models import Model, find_model

from ..errors import UsageError
from ..measure import prompts, replay
from ..measure.agents import turns
from ..measure.arrival import WAYS
from ..measure.formats import FORMATS, TEXT, Format
from ..measure.interruption import WAYS as INTERRUPTIONS
from ..measure.rl import grpo, verl
from ..measure.tracked import FIXED, GRPO, TURNS
from ..measure.workload import GROUP, LOGPROBS, STREAM, VARIANTS, VOCABULARY, Workload
from .names import MANY, listed, named, unknown
from .options import engine_arguments

NAMES = ("fixed", "grpo", "verl", "turns")

OF_A_FILE = ("chat_column", "workload_format", "block_tokens")
"""Options that say how a file is read."""

MOST_LOGPROBS = 20
"""What vLLM's engine argument max_logprobs is by itself, in 0.22 to 0.33."""


WHAT = (
    f"{', '.join(NAMES)}; or a file: a line a sample (prompt_length, output_length, group), a published "
    "trace, or JSONL or Parquet with real prompts"
)
"""What a workload can be given as."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what says which workload is meant."""
    parser.add_argument("--workload", default="fixed", metavar="NAME|FILE", help=f"{WHAT} (default: fixed)")
    size_arguments(parser)


def size_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what says how large a workload is, and how a file is read."""
    parser.add_argument(
        "--batch",
        type=listed(int),
        action="extend",
        metavar="N",
        help=f"sequences in a rollout; {MANY} (default: 8, or its own)",
    )
    for name, text in (("prompt", "prompt"), ("output", "answer")):
        parser.add_argument(
            f"--{name}-tokens",
            type=int,
            metavar="N",
            help=f"tokens of each {text}; where they differ, the cap (default: its own)",
        )
    parser.add_argument(
        "--samples", type=int, help="sequences for each prompt (default: 1, or 16), or turns of a session (4)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random prompts and lengths (default: 0)")
    for name, tokens in (("logprobs", "the answer's"), ("prompt-logprobs", "the prompt's")):
        parser.add_argument(
            f"--{name}",
            action="extend",
            type=listed(_count_or_none),
            metavar="K",
            help=f"ask for the log-probabilities of {tokens} tokens, and of the K most probable ones beside "
            f"each; {MANY}; `none` beside K shows what they cost (default: none)",
        )
    parser.add_argument(
        "--request",
        action="extend",
        type=listed(named("request", ["sample", GROUP])),
        metavar="WHAT",
        help=f"what a request is for: a `sample`, or all samples of a prompt, `{GROUP}`; {MANY} "
        "(default: sample)",
    )
    parser.add_argument(
        "--output-kind",
        action="extend",
        type=listed(named("output kind", ["final", STREAM])),
        metavar="KIND",
        help=f"what comes of a request: the whole answer, `final`, or tokens as they are made, `{STREAM}`; "
        f"{MANY} (default: final)",
    )
    parser.add_argument(
        "--arrival",
        action="extend",
        type=listed(),
        metavar="WAY",
        help=f"when requests are sent: {WAYS}: N in flight, R a second (Poisson), when the rows of the file "
        f"say; {MANY} (default: batch, all at once)",
    )
    parser.add_argument(
        "--interrupt",
        action="extend",
        type=listed(),
        metavar="WAY",
        help=f"in the middle of a rollout: {INTERRUPTIONS}; {MANY} (default: none)",
    )
    parser.add_argument(
        "--separately",
        action="store_true",
        help="measure these options one at a time beside the plain workload, and not in every combination",
    )
    parser.add_argument(
        "--chat-column",
        metavar="NAME",
        help=f"the column that has the prompts (default: the first of {', '.join(TEXT)})",
    )
    parser.add_argument(
        "--workload-format",
        choices=FORMATS,
        help="the format of a trace whose first line does not show it",
    )
    parser.add_argument(
        "--block-tokens",
        type=int,
        metavar="TOKENS",
        help="tokens that an id of hash_ids stands for (default: the format's)",
    )


def choose(given: argparse.Namespace) -> list[Workload]:
    """The workloads, one for each batch. Raises UsageError for what cannot be done, in a line."""
    for name in ("samples", "prompt_tokens", "output_tokens"):
        value = getattr(given, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} is {value}; it must be at least 1")
    for batch in given.batch or ():
        check_batch("--batch", batch)
    for name in OF_A_FILE:
        if given.workload in NAMES and getattr(given, name) is not None:
            raise UsageError(
                f"--{name.replace('_', '-')} says how a file is read, and the workload {given.workload!r} is "
                "none: leave it out, or name a file"
            )
    try:
        if given.workload == "fixed":
            loads = _fixed(given)
        elif given.workload == "turns":
            loads = _of_turns(given)
        elif given.workload in NAMES:
            loads = _long_tailed(given)
        else:
            loads = _from_file(given, Path(os.path.expanduser(given.workload)))
        loads = _variants(given, loads)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return within_vocabulary(loads, given.preset)


def _count_or_none(text: str) -> int | None:
    try:
        return None if text == "none" else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is given; give a whole number, or none") from None


def _variants(given: argparse.Namespace, loads: list[Workload]) -> list[Workload]:
    """Each workload with all that is asked for, in turn or together."""
    for name in LOGPROBS:
        for value in getattr(given, name) or ():
            _check_logprobs(f"--{name.replace('_', '-')}", value, given)
    asked = {name: dict.fromkeys(getattr(given, name) or [None]) for name in VARIANTS}
    for name, plain in (
        ("request", "sample"),
        ("output_kind", "final"),
        ("arrival", "batch"),
        ("interrupt", "none"),
    ):
        asked[name] = dict.fromkeys(None if one == plain else one for one in asked[name])
    if given.separately:
        found = ({name: one} for name in VARIANTS for one in asked[name] if one is not None)
        combined: list[dict[str, Any]] = [{}, *found]
    else:
        combined = [dict(zip(VARIANTS, values, strict=True)) for values in product(*asked.values())]
    return [load.asking(**more) for load in loads for more in combined]


def _check_logprobs(option: str, value: int | None, given: argparse.Namespace) -> None:
    """Raise UsageError for more log-probabilities than an engine gives."""
    vocabulary = find_model(given.preset).config().get("vocab_size") or VOCABULARY
    own = engine_arguments(getattr(given, "engine_arg", ())).get("max_logprobs", MOST_LOGPROBS)
    most = min(own, vocabulary) if isinstance(own, int) and own >= 0 else vocabulary
    if value is not None and not 0 <= value <= most:
        raise UsageError(
            f"{option} is {value}; it must be 0 to {most}: vLLM gives {MOST_LOGPROBS} at most, or what "
            f"--engine-arg max_logprobs=N says, and the vocabulary of {given.preset} has {vocabulary} tokens"
        )


def within_vocabulary(loads: list[Workload], preset: str | None) -> list[Workload]:
    """The workloads, with ids that the model knows. Raises UsageError where prompts of a file have others."""
    if preset is None:
        return loads
    size = find_model(preset).config().get("vocab_size") or VOCABULARY
    for load in loads:
        highest = max(map(max, load.ids or ((0,),)))
        if highest >= size:
            raise UsageError(
                f"the prompts have the token id {highest}; the vocabulary of {preset} has {size}"
            )
    return [replace(load, vocabulary=min(size, VOCABULARY)) for load in loads]


def _fixed(given: argparse.Namespace) -> list[Workload]:
    own = dict(FIXED.get(given.preset, {}))
    own |= _given(given, prompt_tokens="prompt_tokens", output_tokens="output_tokens")
    samples = given.samples or 1
    return [
        Workload(prompts=_prompts(batch, samples), samples=samples, seed=given.seed, **own)
        for batch in sorted(set(given.batch or [8]))
    ]


def _long_tailed(given: argparse.Namespace, **more: Any) -> list[Workload]:
    """At the workload's own size, but for the preset without a GPU; or as the command says."""
    scale = dict(GRPO["nano"]) if given.preset == "nano" else {}
    scale |= {"seed": given.seed, **more}
    scale |= _given(given, prompt_tokens="prompt_cap", output_tokens="output_cap", samples="samples")
    make = verl if given.workload == "verl" else grpo
    samples = scale.get("samples", 16)
    if not given.batch:
        _check_samples(scale.get("prompts", 128), samples)
        return [make(**scale)]
    return [make(**scale | {"prompts": _prompts(batch, samples)}) for batch in sorted(set(given.batch))]


def _of_turns(given: argparse.Namespace) -> list[Workload]:
    """Sessions of --samples turns each, so many that all turns together are the batch."""
    scale = TURNS.get(given.preset, {}) | {"seed": given.seed}
    scale |= _given(given, prompt_tokens="prompt_tokens", output_tokens="output_cap", samples="turns")
    if not given.batch:
        return [turns(**scale)]
    count = scale.get("turns", 4)
    return [turns(**scale | {"sessions": _prompts(batch, count)}) for batch in sorted(set(given.batch))]


def _from_file(given: argparse.Namespace, path: Path) -> list[Workload]:
    if not path.is_file():
        raise UsageError(f"{unknown('workload', given.workload, NAMES)}, or a file")
    model = None if given.preset is None else find_model(given.preset)
    longest = None if model is None else model.config().get("max_position_embeddings")
    form = replay.recognised(path, given.chat_column, given.workload_format)
    if form is not None:
        return [_trace(given, path, form, model, longest)]
    tokenizer = _chat_tokenizer(model, path)
    output_cap = given.output_tokens or 1024
    # A cap on prompts cuts them; without one they must fit as they are.
    fits = longest - output_cap if longest and given.prompt_tokens is None else None
    if model and fits is not None and fits < 1:
        raise UsageError(
            f"answers of up to {output_cap} tokens (--output-tokens) leave no room for a prompt: "
            f"{model.name} takes {longest} of both"
        )
    samples = given.samples or 16
    loads = []
    for batch in sorted(set(given.batch or [_check_samples(128, samples)])):
        count = _prompts(batch, samples)
        ids = prompts.read_prompts(path, given.chat_column, count, tokenizer, fits)
        loads.append(
            grpo(
                count,
                samples,
                given.prompt_tokens or max(map(len, ids)),
                output_cap,
                given.seed,
                "prompts",
                ids=ids,
                source=f"{given.chat_column or 'prompts'} of {path.name}",
            )
        )
    return loads


def _trace(
    given: argparse.Namespace, path: Path, form: Format, model: Model | None, longest: int | None
) -> Workload:
    sizes = ("batch", "samples", "prompt_tokens")
    told = [f"--{name.replace('_', '-')}" for name in sizes if getattr(given, name) is not None]
    if told:
        raise UsageError(f"{', '.join(told)} cannot be given with {path}, which says it all")
    if given.block_tokens is not None:
        if given.block_tokens < 1:
            raise UsageError(f"--block-tokens is {given.block_tokens}; it must be at least 1")
        form = replace(form, block_tokens=given.block_tokens)
    tokenizer = cache(lambda: _chat_tokenizer(model, path))  # not every trace needs one

    def encode(row: Mapping[str, Any], column: str, where: str) -> list[int]:
        return prompts.encode(tokenizer(), row, column, where)

    return replay.read_replay(path, form, longest, memory_bytes(), encode, given.output_tokens)


def _chat_tokenizer(model: Model | None, path: Path) -> Any:
    tokenizer = tokenizer_of(model, path)
    if not tokenizer.chat_template:
        raise UsageError(f"the tokenizer of {tokenizer.name_or_path} has no chat template")
    return tokenizer


def tokenizer_of(model: Model | None, path: Path) -> Any:
    """The tokenizer of a model, which the texts of a file need. Raises UsageError where it has none."""
    if model is None:
        raise UsageError(f"{path} holds texts: give a model folder with a tokenizer as --preset")
    if not model.has_tokenizer:
        raise UsageError(
            f"{path} holds texts, and {model.name} has no tokenizer: give a model folder with one"
        )
    try:
        from transformers import AutoTokenizer
    except ImportError:
        raise UsageError(
            f"transformers is not installed, and the tokenizer of {model.folder} needs it"
        ) from None
    try:
        return AutoTokenizer.from_pretrained(model.folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise UsageError(f"the tokenizer of {model.folder} cannot be loaded: {error}") from None


def _given(given: argparse.Namespace, **names: str) -> dict[str, int]:
    """What the line says, under the workload's own names."""
    return {its: getattr(given, name) for name, its in names.items() if getattr(given, name) is not None}


def _prompts(batch: int, samples: int) -> int:
    if batch % samples:
        raise UsageError(f"--batch is {batch}; it must be a multiple of --samples ({samples})")
    return batch // samples


def check_batch(option: str, batch: int) -> None:
    """Raise UsageError for a batch below 1, and for one that memory could never hold."""
    if batch < 1:
        raise UsageError(f"{option} is {batch}; it must be at least 1")
    _check_memory(batch, f"{option} is {batch}; that many samples need")


def _check_samples(prompts: int, samples: int) -> int:
    """The batch of prompts that the command does not name, if memory could hold it."""
    batch = prompts * samples
    _check_memory(batch, f"--samples is {samples}; {batch} samples of {prompts} prompts need")
    return batch


def _check_memory(batch: int, need: str) -> None:
    least = batch * replay.SAMPLE_BYTES
    if least > memory_bytes():
        raise UsageError(
            f"{need} {least} bytes or more, and this machine has {memory_bytes()} bytes of memory"
        )


def memory_bytes() -> int:
    """Memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
