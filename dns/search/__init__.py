"""Searches one's own images: boxes of people in, who was where out.

sightings.py      one person's box in an image: where, when, by which camera, in which modality
lists/            reads sightings: CSV, MOT text, COCO JSON, a folder of cropped images
times.py          reads the times that lists and users write
crops.py          cuts the boxes out of their images, and counts what cannot be used
network.py        embeds crops, by a checkpoint or an exported network
rows.py           what the index says of each row; filters
manifest.py       the file that names the segments of an index, with sizes and checksums
table.py          the rows as a Parquet table, and which of them the filters choose
segment.py        the files of one addition: unit vectors, table, small images
segment_writer.py writes them as the rows come
store.py          the index: opens it, and adds rows
removal.py        removes rows, joins segments
verification.py   reads every byte of an index
adding.py         sightings -> crops -> embeddings -> rows
exact.py          the most similar rows, by every product
candidates.py     what narrows a search to rows that are probably among the most similar
approximate/      chooses them by FAISS
milvus/           copies the rows to Milvus, and chooses them there
labelled.py       people whose identities are known, embedded to calibrate on
calibration.py    how many strangers are expected to be as similar
answer.py         a query -> hits among the chosen rows, or nobody
asking.py         what the command and the service (dns/serve/) share: the query's crop and network, the answer as JSON
page.py           the answer as a page
timeline.py       when and where the hits were seen, as a figure of the page
moments.py        times as text, and round times for an axis
"""
