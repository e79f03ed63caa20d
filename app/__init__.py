"""nextbest: the next best message for a customer, inside a latency budget, always with the reason."""
