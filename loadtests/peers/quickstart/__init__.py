"""The quickstart stack: the standard job as each library's own quickstart has it."""
