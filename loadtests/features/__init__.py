"""What features cost: `python -m loadtests.features.bench`."""
