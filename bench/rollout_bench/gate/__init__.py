"""Is a commit slower than another: measured in alternation, judged, and reported."""
