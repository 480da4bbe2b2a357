"""`.beton` -> batches on the device. Knows FFCV; knows no model.

index.py        which identity, camera and modality each sample has
sampler.py      P identities x K pictures a modality -> indices (pure)
augment.py      draw parameters (pure), apply them (tensors)
ffcv_mended.py  FFCV's decoding, mended from outside: the only module that imports ffcv
stream.py       a thread that decodes ahead, slots that come back
loaders.py      all of it put together: TrainLoader, TestLoader
"""
