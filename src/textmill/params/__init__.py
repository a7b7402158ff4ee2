"""Generation parameters: one schema, one precedence rule, the dialects that name them."""
