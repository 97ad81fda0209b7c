"""What cannot be done is refused before anything starts, with what was given and what is allowed."""

import asyncio
import importlib.util
import json
import os
from types import SimpleNamespace

import pytest
from rollout_bench.measure import machine

from rollout_perf import ENTRIES, TRANSPORTS, ConfigurationError, Rollout, Sampling, open_rollout

pytestmark = pytest.mark.engine


def start(*arguments, **settings) -> None:
    """Open a rollout that is expected not to open."""

    async def enter() -> None:
        async with open_rollout(*arguments, **settings):
            pytest.fail("it has opened")

    asyncio.run(enter())


def test_an_unknown_path_is_refused_with_the_known_ones():
    with pytest.raises(
        ConfigurationError, match="unknown path 'carrier-pigeon'; known: sync, vllm-mp"
    ) as caught:
        start("nano", "carrier-pigeon")
    assert all(name in str(caught.value) for name in TRANSPORTS)


def test_an_unknown_entry_is_refused_with_the_known_ones():
    with pytest.raises(ConfigurationError, match="unknown entry 'telepathy'; known: local") as caught:
        start("nano", entry="telepathy")
    assert all(name in str(caught.value) for name in ENTRIES)


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(ConfigurationError, match=r"'micro'; presets: nano, qwen2\.5-0\.5b.*local folder"):
        start("micro")


def test_a_model_folder_without_config_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=r"has no config\.json"):
        start(str(tmp_path))


def test_an_unknown_device_is_refused_with_the_known_ones():
    with pytest.raises(ConfigurationError, match="unknown device 'tpu'; known: cpu, cuda"):
        start("nano", device="tpu")


@pytest.mark.skipif(machine.gpus(), reason="there is a GPU here")
def test_cuda_is_refused_where_no_gpu_is():
    """Silently taken on the CPU, its times would be read as a GPU's."""
    with pytest.raises(ConfigurationError, match="CUDA was asked for, but vLLM finds no GPU here"):
        start("nano", device="cuda")


@pytest.mark.parametrize("cuda", [{"device": "cuda"}, {"transport": "vllm-ray"}])
def test_a_gpu_that_is_hidden_is_none(cuda, monkeypatch):
    """vLLM would choose its CUDA platform all the same, and break in a worker."""
    platform = SimpleNamespace(is_cuda_alike=lambda: True, device_count=lambda: 0)
    monkeypatch.setattr("vllm.platforms._current_platform", platform)
    with pytest.raises(ConfigurationError, match=r"vLLM finds no GPU here|cannot be taken here"):
        start("nano", **cuda)


@pytest.mark.skipif(not machine.gpus(), reason="needs a vLLM that drives a GPU")
def test_the_cpu_is_refused_where_vllm_drives_a_gpu():
    """Silently taken on the GPU, its times would be read as the CPU's."""
    with pytest.raises(ConfigurationError):
        start("nano", device="cpu")


def test_an_unknown_engine_argument_is_refused_by_its_name():
    with pytest.raises(ConfigurationError, match=r"not an engine argument.*: warp_speed"):
        start("nano", warp_speed=9)


@pytest.mark.parametrize("name", ["distributed_executor_backend", "disable_log_stats"])
def test_engine_arguments_that_a_path_decides_cannot_be_given(name):
    with pytest.raises(ConfigurationError, match=name):
        start("nano", **{name: "mp"})


def test_tensor_parallel_size_must_divide_the_heads():
    with pytest.raises(
        ConfigurationError, match="tensor_parallel_size is 3; it must divide the 4 attention heads"
    ):
        start("nano", tensor_parallel_size=3)


@pytest.mark.parametrize("size", [0, -1, "two"])
@pytest.mark.parametrize("name", ["tensor_parallel_size", "pipeline_parallel_size"])
def test_parallel_sizes_must_be_at_least_one(name, size):
    with pytest.raises(ConfigurationError, match=f"{name} is {size!r}; it must be at least 1"):
        start("nano", **{name: size})


@pytest.mark.parametrize("path", ["sync", "verl-zmq", "verl-ray"])
def test_stages_are_refused_on_a_path_that_has_none(path):
    with pytest.raises(
        ConfigurationError, match=r"_size is 2; this path has no stages.*: vllm-mp, .*zmq, ray"
    ):
        start("nano", path, pipeline_parallel_size=2)


@pytest.mark.skipif(machine.gpus(), reason="needs a vLLM of the CPU")
def test_stages_that_compile_nothing_are_refused_on_the_cpu():
    """A worker would fail in the first step, by an assertion of vLLM's."""
    with pytest.raises(ConfigurationError, match="only where it compiles: set enforce_eager to false"):
        start("nano", "zmq", pipeline_parallel_size=2, enforce_eager=True)


@pytest.mark.parametrize("field", ["max_tokens", "samples"])
def test_sampling_nothing_is_refused(field):
    with pytest.raises(ConfigurationError, match=f"{field} is 0; it must be at least 1"):
        Sampling(**({"max_tokens": 1} | {field: 0}))


def test_as_many_samplings_as_prompts():
    """Silently cut to the shorter, some prompts would have no answer."""
    rollout = Rollout(model=None, row=None, engine=None)
    with pytest.raises(ConfigurationError, match="2 prompts came with 3 samplings"):
        asyncio.run(rollout.generate([[1], [2]], [Sampling(1)] * 3))


@pytest.mark.parametrize(("path", "module", "package"), [("zmq", "zmq", "pyzmq"), ("ray", "ray", "ray")])
def test_a_path_whose_library_is_missing_says_what_to_install(monkeypatch, path, module, package):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == module else find_spec(name, *rest)
    )
    with pytest.raises(ConfigurationError, match=rf"{package} not installed \(pip install {package}\)"):
        start("nano", path)


def test_a_model_that_vllm_does_not_know_is_refused_without_a_process(tmp_path):
    """vLLM's own complaint, in the package's own exception."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "abacus", "architectures": ["Abacus"]}))
    with pytest.raises(ConfigurationError, match="abacus"):
        start(str(tmp_path), "zmq", skip_tokenizer_init=True)


def test_nothing_stays_in_the_environment_after_a_refusal():
    """The next run would be taken for a part of the one that never was."""
    before = dict(os.environ)
    with pytest.raises(ConfigurationError):
        start("nano", warp_speed=9)
    assert dict(os.environ) == before
