"""DNS, "Domain Shifting: A Generalized Solution for Heterogeneous Cross-Modality Person Re-Identification" (ECCV 2024).

Knows tensors and the paper; knows no data set, no `.beton` and no loader.
"""
