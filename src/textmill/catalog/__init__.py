"""Models by name: the catalog, the cache of artifacts, downloads."""
