"""Beat: leadership among its processes, entries that are due, one run per slot."""
