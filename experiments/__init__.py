"""Experiments behind the numbers in the documentation, one folder each.

Run one from the root of the repository:

    python -m experiments.multi_mnist.run

`settings.toml` beside a `run.py` holds what its models change in the defaults of `airjax train`, by the names of the
flags.
"""
