"""Bodies of any size, in and out: batches and files are passed on piece by piece."""
