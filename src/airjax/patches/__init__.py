"""Generative models of patches, behind one protocol (`airjax.patches.base`)."""
