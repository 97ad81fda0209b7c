"""Is a commit slower than another: measured side by side, judged, and reported."""
