"""Learning: bounds, estimators of their gradients, and the trainer."""
