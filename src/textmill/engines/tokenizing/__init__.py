"""Texts to token ids and back, from a model folder's own files."""
