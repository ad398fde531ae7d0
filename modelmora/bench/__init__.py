"""How fast this machine serves, beside plain Faust and the raw clients, in one run."""
