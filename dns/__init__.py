"""DNS, "Domain Shifting: A Generalized Solution for Heterogeneous Cross-Modality Person Re-Identification" (ECCV 2024).

The files beside this one hold the paper and the step that trains it: they take tensors and their own options, and read
no data set. evaluation/ ranks, report/ shows, training/ is the harness around them; setup.py there opens everything.
"""
