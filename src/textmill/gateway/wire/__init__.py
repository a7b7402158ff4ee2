"""AWS's wire formats, made from botocore's service models; knows nothing of models or jobs."""
