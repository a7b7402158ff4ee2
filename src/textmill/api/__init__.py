"""The public verbs of Python: the same names and defaults as the command line."""
