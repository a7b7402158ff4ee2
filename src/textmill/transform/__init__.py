"""Batch jobs: plan, parts, commit, resume."""
