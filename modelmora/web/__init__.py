"""How every process of ours speaks HTTP: one server, one way to refuse, one look."""
