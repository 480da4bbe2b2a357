"""What a converted data set is: the `.beton` fields, their binary layout, and the manifest beside the file.

This is the only part of `ffcv_convert` that other packages may import.
"""

from ffcv_convert.schema.beton import FIELDS, STYLES, Modality, read_structure
from ffcv_convert.schema.errors import DataError, printable
from ffcv_convert.schema.manifest import Converted, Manifest, manifest_path, open_beton, read_manifest

__all__ = [
    "FIELDS",
    "STYLES",
    "Converted",
    "DataError",
    "Manifest",
    "Modality",
    "manifest_path",
    "open_beton",
    "printable",
    "read_manifest",
    "read_structure",
]
