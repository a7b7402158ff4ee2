"""Record formats: bytes to records, results to bytes."""
