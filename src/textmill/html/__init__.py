"""Pages as values: elements that escape what they are given, documents that load nothing."""
