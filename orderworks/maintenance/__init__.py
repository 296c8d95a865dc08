"""What beat asks for so that nothing is forgotten and nothing is kept for ever."""
