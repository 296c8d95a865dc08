"""Actions on imports, and times as users write them."""
