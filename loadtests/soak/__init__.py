"""The mix for an hour: does anything grow, slow down or get lost (`make soak`)?"""
