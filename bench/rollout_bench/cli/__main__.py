"""`python -m rollout_bench.cli`: the command `rollout-perf` where no script of it is installed."""

import sys

from .main import main

if __name__ == "__main__":
    sys.exit(main())
