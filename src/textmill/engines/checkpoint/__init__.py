"""A Hugging Face model folder as one typed description plus named arrays."""
