"""In torch's place, which takes seconds to load: a host without a GPU. The probe asks no more of it."""

from types import SimpleNamespace

cuda = SimpleNamespace(is_initialized=lambda: False)
version = SimpleNamespace(cuda=None)
