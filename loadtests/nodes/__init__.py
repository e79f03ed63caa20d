"""Several nodes on one store, several workers of one, wide requests, batches: what each costs, and how many come."""
