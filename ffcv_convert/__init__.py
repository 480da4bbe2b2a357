"""Converts raw data set folders into `.beton` files with manifests, without any loader or model."""

import os

# A debugger's leftover, which Numba reads when it is imported: nothing here works without compiled code.
os.environ.pop("NUMBA_DISABLE_JIT", None)
