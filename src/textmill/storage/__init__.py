"""Bytes at rest: files that appear whole or not at all."""
