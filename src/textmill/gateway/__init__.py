"""The SageMaker-compatible control plane: AWS wire formats in front of `run` and `serve`."""
