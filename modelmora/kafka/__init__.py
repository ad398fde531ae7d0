"""How the cluster is reached: connection settings, the table of topics, writing and reading."""
