"""DNS, "Domain Shifting: A Generalized Solution for Heterogeneous Cross-Modality Person Re-Identification" (ECCV 2024).

The files beside this one hold the paper: they take tensors and know no file, option or data set. evaluation/ ranks and
reports, training/ is the harness around it.
"""
