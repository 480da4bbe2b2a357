"""Defines what a request gets that is not answered: a status of HTTP and a sentence."""

import re
from collections.abc import Mapping

from fastapi.responses import JSONResponse

from ffcv_convert.common.errors import UserError, printable


class Refused(Exception):
    """A request that is refused, or that failed. headers: of the response."""

    def __init__(self, status: int, sentence: object, headers: Mapping[str, str] | None = None):
        super().__init__(str(sentence))
        self.status, self.headers = status, headers

    def response(self) -> JSONResponse:
        return JSONResponse({"error": printable(str(self))}, self.status, self.headers)


def mistaken(error: UserError) -> Refused:
    """Return the refusal of a request whose parameters or image are wrong. Messages name options of the command line;
    the parameters have the same names, without the dashes."""
    return Refused(400, re.sub(r"--(?=[a-z])", "", str(error)))
