"""The commands of `rollout-perf`, a file each: `SUMMARY`, `arguments(parser)` and `run(given)`."""
