"""The environment variables of the harness and the tools, each with who sets it and who reads it. Pure.

Not here: ROLLOUT_PERF_RUN, the system under test's own (rollout_perf/transports/run.py).
"""

MARK = "ROLLOUT_PERF_CASE"
"""A value of its own for each run of a module of the harness. `measure.process` sets it; every process of the
run inherits it, and is found and ended by it."""

ALONE = "ROLLOUT_PERF_ALONE"
"""The process that has the machine's lock for this one, which it has started: without it a measuring process
waits until no other measures. `measure.alone` sets and reads it; people who know that two do not disturb each
other, on GPUs and cores of their own, may set it to anything."""

LOG = "ROLLOUT_PERF_LOG"
"""A file to which all that measuring processes print is appended, vLLM's log among it. People set it;
`measure.process` reads it."""

NOTE = "ROLLOUT_PERF_NOTE"
"""The file in which a worker notes why an engine step failed: of some executors of vLLM's the front learns no
more than that the engine is dead. A case's process sets it; `measure.probe` in the worker reads it."""

TIMELINE = "ROLLOUT_PERF_TIMELINE"
"""The file that gains the scheduler's stamps whenever no request is left. A case's process sets it where
the timeline is asked for; `measure.timeline` in the engine's process reads it."""

PROGRESS = "ROLLOUT_PERF_PROGRESS"
"""A file to which progress is appended, line by line. `rollout-perf track` sets it for asv, and ends by it
what asv has started; `measure.asv_records` reads it."""

SET = "ROLLOUT_PERF_SET"
"""The set of tracked.toml that is measured, `default` where it is not set. `rollout-perf track` sets it for
asv, and people who call asv may; benchmarks/rollout.py and `measure.asv_cases` read it."""

AGAIN = "ROLLOUT_PERF_AGAIN"
"""Anything: what results/ has of a commit is measured again. `rollout-perf track` sets it for asv, and people
who call asv may; `measure.asv_cases` reads it."""

REPLICATES = "ROLLOUT_PERF_REPLICATES"
"""Sessions with fresh engines for a value, in the place of the tables' own of tracked.toml. A campaign sets
it for asv; benchmarks/rollout.py reads it."""

NODE = "ROLLOUT_PERF_NODE"
"""The node of a cluster that measures, for a record's provenance. A campaign sets it for asv;
`measure.asv_cases` reads it."""

FLAVOUR = "ROLLOUT_PERF_FLAVOUR"
"""The lock that counts, `cpu` or `cuda`, where it is not that of the hardware. People set it;
requirements/install.py and `cli.releases` read it."""

MACHINE = "ROLLOUT_PERF_MACHINE"
"""The machine's name in results/ where --machine does not say it: a runner that is made anew for each run has
another host name each time. People and CI set it; `history.asv_runs` reads it."""

PAGES = "ROLLOUT_PERF_PAGES"
"""Anything: whoever runs asv writes the regressions of its pages. `site.asv_pages` sets it; `site.asv_plugin`
reads it."""

CONTROL_PACKAGES = "ROLLOUT_PERF_CONTROL_PACKAGES"
"""The PYTHONPATH of the control where ASV_PYTHONPATH lends the packages of a ledger's release: the control's
stay what they are. People set it; `measure.control` reads it."""
