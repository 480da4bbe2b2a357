"""The data sets that can be converted. To add one: a file here with its `DATASET`, and a line below."""

from ffcv_convert.datasets import llcm, synthetic

DATASETS = {dataset.name: dataset for dataset in (llcm.DATASET, synthetic.DATASET)}
