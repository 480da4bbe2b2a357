"""Approximate search by FAISS, for many rows: python -m dns.search search --approximate.

ivf_pq.py   an IVF-PQ index of the rows of a segment: its size, how it is built, which rows it finds
files.py    keeps one for each large segment below INDEX/made/faiss/, and builds those that are missing
"""
