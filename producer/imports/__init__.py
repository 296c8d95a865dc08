"""Files that are submitted for import: accepted, checked, and put into the spool."""
