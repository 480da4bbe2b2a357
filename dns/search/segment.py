"""One segment: a folder of three files, written once and never changed."""
