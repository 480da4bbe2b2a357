"""Turns embeddings into rankings under a named protocol, and these into a report."""
