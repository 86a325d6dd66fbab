#!/usr/bin/env bash
# cyclopts can take the values of flags that aren't given from a configuration without a level for each command
# (use_commands_as_keys=False). An unknown key there is refused. But a key that is both a flag of the command and the
# name of another command of the program is dropped without a word, and the flag keeps its default. So adding a command
# can switch off a line of users' configuration files.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check cyclopts==5.4.0
"$folder/env/bin/python" - <<'PYTHON'
from importlib.metadata import version

import cyclopts
from cyclopts.config import Dict

print(f"cyclopts {version('cyclopts')}")


def program(*, with_command):
    """Make a program with the command `fit`, and with or without another one that is called as a flag of it."""
    app = cyclopts.App(config=Dict({"samples": 7, "steps": 5}, use_commands_as_keys=False))
    app.command(lambda *, samples=1, steps=1: (samples, steps), name="fit")
    if with_command:
        app.command(lambda: None, name="samples")
    return app


for with_command, expected in ((False, (7, 5)), (True, (1, 5))):
    run = program(with_command=with_command)(["fit"], result_action="return_value")
    print(f"another command called `samples`: {with_command}; (samples, steps) = {run}")
    assert run == expected
PYTHON
