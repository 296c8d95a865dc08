"""Who may use the gateway, and how often: tokens and their rates."""
