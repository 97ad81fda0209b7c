"""What another's system is given of a preset."""

from types import SimpleNamespace


def find_model(name):
    return SimpleNamespace(engine_arguments=lambda: {"model": f"/presets/{name}", "load_format": "dummy"})
