"""Searches one's own images: boxes of people in, who was where out.

sightings.py      one person's box in an image: where, when, by which camera, in which modality
lists/            reads sightings: CSV, MOT text, COCO JSON, a folder of cropped images
times.py          reads the times that lists and users write
crops.py          cuts the boxes out of their images, and counts what cannot be used
network.py        embeds crops, by a checkpoint or an exported network
rows.py           what the index says of each row; filters
segment.py        the files of one addition: unit vectors, table, small images
store.py          the index: segments and a manifest; adds, removes, compacts, verifies
adding.py         sightings -> crops -> embeddings -> rows
exact.py          the most similar rows, by every product
calibration.py    how many strangers are expected to be as similar
answer.py         a query -> hits among the chosen rows, or nobody
page.py           the answer as a page, with a timeline
"""
