"""Reading: topics as they are, partitions without a group, and where they stand."""
