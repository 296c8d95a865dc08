"""Beat: which of its processes leads, what is due, and one run a slot."""
