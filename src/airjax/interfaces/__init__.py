"""What people and other programs use: the command line, the scikit-learn estimator, the web page, files."""
