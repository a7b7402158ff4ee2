"""The CTranslate2 engine: its model, its options, its limits. See docs/decisions/ct2-engine.md."""
