"""Text-to-text models over large data sets and behind an endpoint, on your own machines."""

__version__ = "0.1.0.dev0"
