"""Says at which size a recipe wants its set converted, for make: python -m dns.training.conversion OPTIONS

Prints the folder below the BETON_ROOT that holds sets of this size, such as 384x144; nothing for the set's own size.
"""

import sys

from dns.training.config import read_config
from ffcv_convert.common.errors import user_errors
from ffcv_convert.common.streams import lasting_streams

if __name__ == "__main__":
    with lasting_streams(), user_errors():
        print(read_config(sys.argv[1:], description=__doc__).data.size_folder)
