"""`.beton` -> batches on the device. Knows FFCV; knows no model.

index.py      which identity, camera and modality each sample has
sampler.py    P identities x K pictures a modality -> indices (pure)
augment.py    draw parameters (pure), apply them (tensors)
ffcv_mended.py  FFCV's loader, mended from outside: the only module that imports ffcv
loaders.py    the three put together: TrainLoader, TestLoader
"""
