"""The steps of a decision, one file a step, in the order of `policy.codes.Step`.

`situation` → `gate` → `eligible` → `score` → `limits` → `arbitrate`, then `record` and `answer` say what was decided.
Every function is pure: facts, bundle, now and seed come in as arguments, which is why a record decides again the same
way (`replay`).
"""
