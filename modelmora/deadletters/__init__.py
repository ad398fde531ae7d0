"""Dead letters from outside: found, read, and put back as a new run of their request."""
