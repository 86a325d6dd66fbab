"""airjax: Attend, Infer, Repeat in JAX."""
