# rollout-perf for a GPU, with the packages of requirements/cuda.lock and tools.lock. Needs the NVIDIA container toolkit.
#
#   docker build -t rollout-perf .
#   docker run --rm --gpus all --shm-size 16g -v "$PWD/results:/rollout-perf/results" \
#       rollout-perf compare --path zmq --path vllm-mp --preset qwen2.5-0.5b
#
# The CUDA of the image is that of torch in the lock; its compilers are for what vLLM compiles at the first start.
# Never built on this image nor run on a GPU: docs/ci.md says what was.
FROM docker.io/nvidia/cuda:13.0.2-devel-ubuntu24.04

RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        git make g++ ca-certificates python3.12-dev python3.12-venv nodejs npm \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /rollout-perf
ENV PATH=/rollout-perf/.venv/bin:$PATH

# The packages first: they change with the locks alone.
COPY requirements requirements
RUN python3.12 -m venv .venv \
    && .venv/bin/pip install --quiet --no-cache-dir "$(grep '^uv==' requirements/tools.lock)" \
    && UV_NO_CACHE=1 .venv/bin/python requirements/install.py --python .venv/bin/python --locks requirements \
        --tools --flavour cuda --image

# With .git: `track` and `gate` measure commits.
COPY . .
RUN .venv/bin/python requirements/install.py --python .venv/bin/python --locks requirements \
        --tools --flavour cuda --image --editable . --editable bench \
    && touch .venv/ready \
    && git config --system --add safe.directory /rollout-perf

ENTRYPOINT ["rollout-perf"]
CMD ["--help"]
