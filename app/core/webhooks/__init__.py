"""Webhooks of e-mail service providers: who sent them, and what they say. Pure."""
