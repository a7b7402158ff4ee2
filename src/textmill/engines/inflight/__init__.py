"""The in-flight decoder: requests of any parameters share a batch, and leave it as they end.

It knows no network library: whatever can encode texts and step rows (`network.py`) can be under it.
"""
