"""The harness and the tools of rollout-perf: what measures, judges, keeps and shows.

It takes the system under test, `rollout_perf`, as it finds it. `measure` and `schema` import the standard
library only: asv imports them in its own process, which does not see what ASV_PYTHONPATH provides.
"""
