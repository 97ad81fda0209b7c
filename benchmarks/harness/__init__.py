"""What generates load, times, counts and judges. It takes the subject, rollout_perf, as it finds it."""
