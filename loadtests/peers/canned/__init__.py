"""A server that is no server: the same bytes for every decision, to see what a load generator can drive."""
