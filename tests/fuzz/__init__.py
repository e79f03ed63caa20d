"""Fuzzing: every parser of bytes that others made is fed what nobody would send (docs/fuzzing.md).

    python -m tests.fuzz [TARGET …] --seconds N     for as long as you have, guided by coverage (atheris)
    pytest tests/fuzz                               the kept inputs again, and some hundred seeded changes of them

A target is a module in `targets/`, named for what it feeds:

    run(data)   feeds the parser; returns when it answered in a declared way, and raises whatever else happens
    seeds()     whole inputs that are well formed, from which changes are made
    WORDS       what the format gives a meaning to

`corpus/` keeps inputs that reach code which no seed reaches, and those that broke something once (`<target>/found-…`).
"""
