"""What came in, and how it becomes tensors without running it."""
