r"""Names of files in text: a name that is not UTF-8 is escaped, so that every output can hold it.

Bytes that are not UTF-8 become `\xNN`, and a backslash in such a name becomes two. So does one in a name that could be
taken for an escaped one. `bytes_of` undoes it.
"""

import os
import re

_DOUBTFUL = re.compile(r"[\ud800-\udfff]|\\[x\\]")
_ESCAPED = re.compile(rb"\\(\\|x[0-9a-f]{2})")


def printable(name: str) -> str:
    """Escape what is not UTF-8 in the name of a file, as Python gives it; other names stay as they are."""
    if not _DOUBTFUL.search(name):
        return name
    return os.fsencode(name.replace("\\", "\\\\")).decode("utf-8", "backslashreplace")


def bytes_of(printed: str) -> bytes:
    """Return the bytes of the name that `printable` has escaped."""
    one = lambda match: b"\\" if match[1] == b"\\" else bytes([int(match[1][1:], 16)])
    return _ESCAPED.sub(one, printed.encode())
