"""The whole job once, on generated data, with its own proof. `orderworks demo` runs it."""
