"""More than the server can answer: what it still answers, and how it refuses the rest."""
