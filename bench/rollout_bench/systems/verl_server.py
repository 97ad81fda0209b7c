"""verl's rollout server without a trainer: its vLLM server in a Ray actor, its load balancer and its client.

    rollout-perf compare --system rollout_bench.systems.verl_server:start

`verl` must be installed beside vLLM. What trains is left out: the workers that take weights. A rollout
passes what verl's agent loop calls: the client asks the balancer, an actor, for a server, calls it once a
sample, and says that it is done. verl's server wants a tokenizer; a model without one gets one of as many
words as its vocabulary has.
"""

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ray
import vllm
from omegaconf import OmegaConf
from verl.workers.config import HFModelConfig, RolloutConfig
from verl.workers.rollout.llm_server import LLMServerClient
from verl.workers.rollout.replica import RolloutMode
from verl.workers.rollout.router import GlobalRequestLoadBalancer
from verl.workers.rollout.vllm_rollout.vllm_async_server import vLLMHttpServer

from rollout_perf.transports.ray_cluster import local_cluster
from rollout_perf.transports.ray_workers import join_cluster

from ..measure.system import Request, Settings
from . import as_they_end

_OWN = ("max_model_len", "max_num_seqs", "max_num_batched_tokens", "enable_prefix_caching", "dtype", "seed")
"""Engine arguments that verl's config has itself, beside those that it hands on."""

_NOT_TAKEN = ("skip_tokenizer_init", "cudagraph_capture_sizes", "enforce_eager", "load_format")


async def start(settings: Settings) -> "Verl":
    """Start Ray, a server and the balancer; return when the server can generate."""
    arguments = settings.engine_arguments
    folder = Path(tempfile.mkdtemp(prefix="verl-model-", dir=Path.cwd()))
    model = await asyncio.to_thread(_with_tokenizer, Path(settings.model), folder)
    config = RolloutConfig(
        name="vllm",
        tensor_model_parallel_size=settings.tensor_parallel_size,
        load_format=arguments.get("load_format", "auto"),
        enforce_eager=arguments.get("enforce_eager", False),
        cudagraph_capture_sizes=arguments.get("cudagraph_capture_sizes"),
        free_cache_engine=False,
        enable_sleep_mode=False,
        ignore_eos=True,
        **{name: arguments[name] for name in _OWN if name in arguments},
        engine_kwargs={
            "vllm": {name: value for name, value in arguments.items() if name not in (*_OWN, *_NOT_TAKEN)}
        },
    )
    ends = ExitStack()
    os.environ.update(ends.enter_context(local_cluster(Path.cwd())))
    join_cluster()
    ends.callback(ray.shutdown)
    variables = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"), "HF_HUB_OFFLINE": "1"}
    variables |= {"VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    server = (
        ray.remote(vLLMHttpServer)
        .options(
            num_cpus=0,
            max_concurrency=max(1000, config.max_num_seqs + 16),
            runtime_env={"env_vars": variables},
        )
        .remote(
            config=config,
            model_config=HFModelConfig(path=str(model)),
            rollout_mode=RolloutMode.STANDALONE,
            workers=[],
            replica_rank=0,
            node_rank=0,
            gpus_per_node=settings.tensor_parallel_size,
            nnodes=1,
            cuda_visible_devices=os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        )
    )
    try:
        await server.launch_server.remote()
    except BaseException:
        ends.close()
        raise
    balancer = ray.remote(GlobalRequestLoadBalancer).options(num_cpus=0).remote({"0": server})
    return Verl(server, balancer, ends)


def _with_tokenizer(model: Path, folder: Path) -> Path:
    """The model with a tokenizer, in a folder if it has none itself."""
    if any(model.glob("tokenizer*")):
        return model
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    for file in model.iterdir():
        shutil.copy(file, folder)
    words = {
        f"w{number}": number
        for number in range(json.loads((model / "config.json").read_text())["vocab_size"])
    }
    tokenizer = Tokenizer(WordLevel(words, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="w0", eos_token="w1").save_pretrained(
        folder
    )
    return folder


class Verl:
    """verl's client before its balancer and its server."""

    def __init__(self, server: Any, balancer: Any, ends: ExitStack):
        self._server = server
        self._ends = ends
        config = OmegaConf.create(
            {"actor_rollout_ref": {"rollout": {"name": "vllm", "full_determinism": False}}}
        )
        self._client = LLMServerClient(config, balancer)

    def generate(self, requests: list[Request]) -> AsyncIterator[tuple[str, Sequence[int]]]:
        """A call for each request, as verl's agent loops make them."""
        return as_they_end(self._call(request) for request in requests)

    async def _call(self, request: Request) -> tuple[str, Sequence[int]]:
        sampling = {"max_tokens": request.max_tokens, "temperature": 1.0, "ignore_eos": True}
        found = await self._client.generate(request.id, prompt_ids=request.prompt, sampling_params=sampling)
        return request.id, found.token_ids

    async def describe(self) -> dict[str, Any]:
        """Versions, and where the server listens."""
        address = await self._server.get_server_address.remote()
        names = ("verl", "ray")
        return {
            "vllm": vllm.__version__,
            **{name: version(name) for name in names},
            "server": list(address),
            "balancer": "verl's, sticky",
        }

    async def stop(self) -> None:
        """End Ray, and so what it has started."""
        await asyncio.to_thread(self._ends.close)
