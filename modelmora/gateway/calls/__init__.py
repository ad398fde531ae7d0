"""A caller's request from its writing to its end: who waits for it, and what comes back."""
