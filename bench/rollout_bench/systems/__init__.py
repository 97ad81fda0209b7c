"""Adapters of other people's rollout systems, see `measure.system`: a file each."""
