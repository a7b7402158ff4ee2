"""The page of a job and of its scores: values in, one HTML file out."""
