"""An open-loop load test: calls come when they come, whether or not the server keeps up."""
