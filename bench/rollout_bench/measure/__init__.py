"""What generates load, times, counts and judges. It takes the subject, rollout_perf, as it finds it.

asv imports every module here in its own process, which does not see what ASV_PYTHONPATH provides:
at module level they import the standard library only.
"""
