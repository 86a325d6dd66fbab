from small_inference import inference, model, root, small_batches  # noqa: F401
