"""What waits for one model, and whose turn it is."""
