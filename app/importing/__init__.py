"""`nextbest import`: what another system knows of customers, out of its files and into a running server.

cli         the commands: their options, their exit codes
rows        a file (NDJSON, CSV, Parquet) as numbered rows
columns     which column is which field of a customer
cells       one value as the bundle declares it
lines       a row as a line of a bulk route, or why it is none
sending     lines to the server, as fast as it takes them
progress    how far that is, in a small file beside the imported one
run         all of it, in order
report      what became of it
"""
