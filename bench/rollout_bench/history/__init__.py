"""The history: results on disk, series of them, what changed where; asv, git and environments."""
