"""Transform jobs: SageMaker's semantics around one `textmill.run` over all objects of a job."""
