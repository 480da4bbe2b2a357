"""Ranks the features of any method under every convention of a data set: python -m dns.judge, docs/judge.md."""
