"""Answers searches of an index over HTTP: a service and its page, for one index and one network.

service.py    opens index and network, listens, ends at a signal
app.py        the addresses: /search, /thumbnails/{row}, /about, /health, /metrics, and the page
guard.py      who may ask: token, Host, Origin; the headers of every response
upload.py     reads the image of a request, within limits
asked.py      the parameters of a search, with the names and values of `make search`
worker.py     the thread that computes; what waits for it
searching.py  answers the searches of a batch together
library.py    the index as it is now: opened again when it has changed
metrics.py    counts, in the text that Prometheus reads
refused.py    a refusal: a status of HTTP and a sentence
page/         the page: a photo is dropped on it
"""
