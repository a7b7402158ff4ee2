"""Where a job's batches are computed."""
