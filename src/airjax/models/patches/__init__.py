"""Generative models of patches, behind one protocol (`airjax.models.patches.base`)."""
