"""How much of everything a deployment needs: `python -m loadtests.capacity`."""
