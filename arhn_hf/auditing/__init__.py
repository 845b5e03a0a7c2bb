"""Audits: a judge measured against human labels."""
