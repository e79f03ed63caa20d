"""The words of the commands: options, help, what is printed, exit codes. Each module is a group of them, and imports
what does the work when a command runs, so that `nextbest serve` is fast to start. `app/cli.py` is the index."""
