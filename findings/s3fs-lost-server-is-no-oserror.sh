#!/usr/bin/env bash
# A folder at an address `s3://...` whose server can't be reached raises an exception that is no OSError, though fsspec's
# file systems otherwise raise OSErrors as local ones do: FileNotFoundError for what is not there, PermissionError for
# what is not allowed. Code that catches OSError around a read, to try again later, is ended by a lost connection.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check s3fs==2026.9.0 fsspec==2026.9.0
"$folder/env/bin/python" - <<'PYTHON'
import socket
from importlib.metadata import version

import s3fs

print(f"s3fs {version('s3fs')}, fsspec {version('fsspec')}")
with socket.socket() as closed:  # bound, but nobody listens
    closed.bind(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    files = s3fs.S3FileSystem(key="any", secret="any", endpoint_url=address, skip_instance_cache=True)
    try:
        files.ls("bucket")
    except Exception as error:
        raised = error
print(f"no server: {type(raised).__module__}.{type(raised).__name__}, an OSError: {isinstance(raised, OSError)}")
assert type(raised).__name__ == "EndpointConnectionError"
assert not isinstance(raised, OSError)
PYTHON
