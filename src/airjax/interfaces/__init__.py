"""Interfaces for people and programs: command line, scikit-learn estimator, web page, files."""
