"""Several programs in the ranks that torchrun starts once: python -m tests.support.ranks_in_turn JSON

JSON: {"joined": file of joined_batch.py, "train": arguments, "eval": arguments}. They run in this order, eval.py as a
program.
"""

import json
import runpy
import sys

import train_ffcv
from dns import ranks
from ffcv_convert.common.errors import user_errors
from tests.conftest import REPOSITORY
from tests.support import joined_batch


def main(asked: dict) -> None:
    joined_batch.main(asked["joined"])
    with user_errors(), ranks.main_alone_prints():
        if code := train_ffcv.train(asked["train"]):
            sys.exit(code)
    sys.argv = ["eval.py", *asked["eval"]]
    runpy.run_path(str(REPOSITORY / "eval.py"), run_name="__main__")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
