"""API keys: how they are made, kept and recognised; and who may do what, and how much of it."""
