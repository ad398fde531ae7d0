"""The registry over HTTP: models, routes, roles, budgets and canaries, shown and changed."""
