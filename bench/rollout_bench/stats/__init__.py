"""Pure statistics over numbers: change points, paired intervals, and the exam of the detector."""
