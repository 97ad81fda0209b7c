"""What generates load, times and counts.

It takes the system under test, rollout_perf, as it finds it. asv imports every module here in its own
process, which does not see what ASV_PYTHONPATH provides: at module level they import the standard
library only.
"""
