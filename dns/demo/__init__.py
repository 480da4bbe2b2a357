"""Writes a page that searches a test set in the browser: static files, nothing is uploaded.

exported.py           the networks: a folder of dns.export, checked; or that of a checkpoint, exported first
gallery.py            the test images: embedded by these networks, as small JPEGs
onnxruntime_web.py    the files of onnxruntime-web: from npm or a folder, by their checksums
folder.py             joins all of them in a folder, whole or not at all
serve.py              serves the folder on this machine
page/                 the page itself; lanczos.js and png.js give conversion's bytes
"""
