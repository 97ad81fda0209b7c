"""Records and findings as text."""
