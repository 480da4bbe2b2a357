"""Lists the data sets that can be converted. To add one, write a file here with its `DATASET` and add a line below."""

from ffcv_convert.datasets import (
    buptcampus,
    custom,
    hitsz_vcm,
    llcm,
    market_sketch_1k,
    pku_sketch,
    regdb,
    synthetic,
    sysu,
)

DATASETS = {
    dataset.name: dataset
    for dataset in (
        sysu.DATASET,
        regdb.DATASET,
        llcm.DATASET,
        market_sketch_1k.DATASET,
        pku_sketch.DATASET,
        hitsz_vcm.DATASET,
        buptcampus.DATASET,
        custom.DATASET,
        synthetic.DATASET,
    )
}
