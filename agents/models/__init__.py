"""The models of this node: what it declares, measures and obeys on the registry and `control`."""
