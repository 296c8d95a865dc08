"""From the change log to a published report."""
