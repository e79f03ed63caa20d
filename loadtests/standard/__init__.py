"""The standard job: one fixed piece of work, so that speed can be compared between versions, peers and the limit."""
