"""Judges: what reads passages. They render requests, parse and ground responses, and ask again."""
