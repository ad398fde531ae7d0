"""What runs in a model's own process, and in the zygote that it is forked from."""
