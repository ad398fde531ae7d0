"""What the verbs share: options, output and tables."""
