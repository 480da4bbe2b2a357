"""Turns a `.beton` into batches on the device. It knows FFCV, but no model.

data.py        opens a converted set: its training loader, or its test images
subset.py      chooses samples of the .beton: training or test, trial, sketch styles
sampler.py     P identities x K images per modality -> sample numbers of every batch (pure)
epoch_plan.py  batches of an epoch and each image's augmentation parameters (augment/draw.py)
prefetch.py    a thread decodes batches ahead into a few slots (decoder.py: FFCV, ffcv_patches.py)
streamed.py    copies each decoded batch to the device, or
resident.py    copies all images to the device once; a batch is then row numbers
batch.py       Batch: images (or rows), identities, sample numbers, augmentation parameters
augment/       apply.py augments in the training step, cpu.py in the decoding threads
"""
