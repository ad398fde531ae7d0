"""Who may ask what, how often, and what they see of it."""
