"""The ruler: asv's benchmark classes, and under harness/ what generates load, times and judges."""
