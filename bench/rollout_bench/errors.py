"""What the tools raise on purpose; the command line turns each into one line and an exit code."""


class BenchError(Exception):
    """A tool that was called failed, such as asv or npm; the message carries its words."""


class UsageError(BenchError, ValueError):
    """What was asked for cannot be done: the message says what was given, what is allowed, what to do."""
