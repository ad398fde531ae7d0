"""REST: what is read of a caller's request, what is written to it, and the pages about it."""
