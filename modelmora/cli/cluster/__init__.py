"""The verbs that ask the cluster itself, by the address of its broker."""
