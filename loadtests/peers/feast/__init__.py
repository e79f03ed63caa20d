"""Feast's feature server with its Redis online store: it only reads 24 features of one entity, and decides nothing."""
