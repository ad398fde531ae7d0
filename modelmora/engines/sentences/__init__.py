"""Models that read texts: to vectors, labels and scores."""
