"""The partitions that this node holds: from where they are read to how far they are committed."""
