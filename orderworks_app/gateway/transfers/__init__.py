"""Bodies of any size: files and batches, passed on as they arrive."""
