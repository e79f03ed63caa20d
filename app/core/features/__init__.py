"""Features: what events come to, by one pure fold that live events, replayed history and training rows all go through.

`windows` cuts time into buckets, `lanes` and `sketches` say what is kept of events, `plan` lays out what a bundle
needs, `fold` adds an event, `read` makes values of what is kept, `codec` makes bytes of it, `history` builds training
rows.
"""
