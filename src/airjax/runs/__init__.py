"""Runs in folders: settings, checkpoints, logs, figures, and trained models that come with the package."""
