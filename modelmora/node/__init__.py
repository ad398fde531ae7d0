"""The node process: its parts put together, its health, and who watches them."""
