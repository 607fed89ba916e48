"""One module per command, each with a `register` that adds it to the command line."""
