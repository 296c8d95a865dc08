"""Whether all is well, as people and metrics systems read it."""
