"""Inference with a trained model, scenes drawn from it, and scores."""
