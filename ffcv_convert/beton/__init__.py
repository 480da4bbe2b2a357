"""What a converted data set is: the `.beton` fields, their binary layout, and the manifest beside the file.

Readers of converted sets import this, and nothing else of `ffcv_convert` but `common`.
"""

from ffcv_convert.beton.labels import STYLES, Modality
from ffcv_convert.beton.layout import FIELDS, read_structure
from ffcv_convert.beton.manifest import Converted, Manifest, manifest_path, open_beton, read_manifest

__all__ = [
    "FIELDS",
    "STYLES",
    "Converted",
    "Manifest",
    "Modality",
    "manifest_path",
    "open_beton",
    "read_manifest",
    "read_structure",
]
