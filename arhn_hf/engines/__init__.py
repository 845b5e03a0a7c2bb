"""Engines: rendered request in, raw response out; they know nothing of retrieval."""
