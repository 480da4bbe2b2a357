"""Measurements: one question a file; results as JSON in benchmarks/results/, tables made from them."""
