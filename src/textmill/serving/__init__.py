"""The real-time endpoint: calls over HTTP in, batches on the shared loop, answers out."""
