"""`.beton` -> batches on the device. Knows FFCV; knows no model.

subset.py      which samples of the .beton a run takes: training or test, trial, sketch styles
sampler.py     P identities x K pictures a modality -> the sample numbers of every batch (pure)
epoch_plan.py  these, and each image's augmentation parameters (augment/draw.py), for one epoch
prefetch.py    a thread decodes batch after batch into a few slots (decoder.py: FFCV, ffcv_patches.py)
streamed.py    ... and each is copied to the device, or
resident.py    ... all pictures are copied once, and a batch is their row numbers
batch.py       Batch: images (or rows), identities, sample numbers, augmentation parameters
augment/       apply.py augments in the training step, cpu.py in the decoding threads
"""
