"""How the site and the reports call metrics, in the order in which they are offered. Pure.

What the ruler measures and is not listed here is shown under its own name. Lower is better for all
of them; units are those that the names end with.
"""

TITLES: dict[str, str] = {
    "step_seconds": "step time",
    "engine_step_seconds": "engine step",
    "output_token_seconds": "time per token",
    "slowest_token_seconds": "time per token of the slowest",
    "first_token_p50_seconds": "first token, median",
    "first_token_p99_seconds": "first token, p99",
    "latency_p99_seconds": "request latency, p99",
    "done_50_seconds": "50 % done",
    "done_90_seconds": "90 % done",
    "done_99_seconds": "99 % done",
    "tail_share": "tail: share of the step after 90 % are done",
    "gpu_idle_share": "GPU idle, share of the step",
    "gpu_idle_seconds": "GPU idle in an engine step",
    "worker_idle_share": "worker idle, share of the step",
    "worker_idle_seconds": "worker idle in an engine step",
    "pipe_idle_seconds": "idle that the pipe explains",
    "roofline_gap_share": "share of the step above the roofline",
    "engine_cpu_seconds": "engine CPU in an engine step",
    "wire_encode_seconds": "pipe: encode",
    "wire_send_seconds": "pipe: send",
    "wire_wait_seconds": "pipe: wait",
    "wire_receive_seconds": "pipe: receive",
    "wire_decode_seconds": "pipe: decode",
    "wire_bytes": "bytes on the wire in an engine step",
    "wire_calls": "calls in an engine step",
    "preemptions": "preemptions",
    "prefix_miss_share": "prefix-cache misses, share of prompt tokens",
    "host_peak_bytes": "host memory, peak",
    "gpu_peak_bytes": "GPU memory, peak",
    "engine_start_seconds": "engine start",
}


def title(name: str) -> str:
    """A metric's name for people."""
    return TITLES.get(name) or name.replace("_", " ")
