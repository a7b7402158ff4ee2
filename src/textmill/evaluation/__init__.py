"""Quality: predictions joined to references by id, and scored."""
