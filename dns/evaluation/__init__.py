"""Embeddings -> rankings under a named protocol -> a report."""
