"""Other detectors of change points, and a labelled real history, beside ours."""
