"""Pure steps: data in, data out. No I/O, no clock, no chance, no logging."""
