"""Run folders: settings, checkpoints, logs and figures, and the trained models that come with the package."""
