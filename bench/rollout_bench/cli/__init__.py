"""The commands of `rollout-perf`, a file each: `arguments(parser)` and `run(given)`; `main` chooses."""
