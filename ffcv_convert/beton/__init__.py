"""Defines the format of a converted data set: the `.beton` fields, their binary layout, and the manifest beside them.

Code that reads converted sets imports this package and `common`, nothing else of `ffcv_convert`.
"""

from ffcv_convert.beton.labels import STYLES, Modality
from ffcv_convert.beton.layout import FIELDS, read_structure
from ffcv_convert.beton.manifest import Converted, Manifest, manifest_path, open_beton, read_manifest
from ffcv_convert.beton.tracklets import Tracklets, tracklets_of

__all__ = [
    "FIELDS",
    "STYLES",
    "Converted",
    "Manifest",
    "Modality",
    "Tracklets",
    "manifest_path",
    "open_beton",
    "read_manifest",
    "read_structure",
    "tracklets_of",
]
