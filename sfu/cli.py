"""Placeholder, filled in by the first feature that needs it."""
