"""`make bench-events`: events through the whole machine, beside decisions."""
