"""The rate of a replay for which none is given."""

DEFAULT_RATE = 1000
"""Updates a second. A drain applies many times that, so it hardly delays other updates."""
