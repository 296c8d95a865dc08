"""One run of all functions on generated data, with a check of the results: `orderworks demo`."""
