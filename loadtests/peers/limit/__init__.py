"""The limit: what the HTTP server does when nothing has to be decided."""
