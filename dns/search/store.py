"""The index: a folder of segments and the manifest that names them."""
