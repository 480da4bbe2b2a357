"""Copies of an index in Milvus: python -m dns.search copy --to milvus, search --from milvus.

collection.py   the rows in a collection: inserts, searches and deletes them
expression.py   the filters in Milvus's language
copies.py       which copies an index has, so that a removal reaches them all: INDEX/copies.json
"""
