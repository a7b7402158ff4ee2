"""`python -m textmill`."""

from textmill.cli.main import main

main()
