"""The archive of everything that passed: written from the shards' streams as Parquet, tidied, read again.

    streams → archiver → day=…/hour=…/group=…/part-….parquet → tidying, erasure → history → vectors, filling

`docs/archive.md` says what a user needs, `docs/adr/0019-the-archive.md` why it is so. Imports pyarrow, which is heavy:
no server imports this package.
"""
