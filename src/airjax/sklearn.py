"""The scikit-learn estimator: `from airjax.sklearn import AIR` (docs/sklearn.md)."""

from airjax.interfaces.sklearn import AIR as AIR
