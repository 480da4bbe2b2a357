"""Holds measurements: one question per file. Results are JSON in benchmarks/results/, with tables made from them."""
