"""The flow of an update from message to verdict."""
