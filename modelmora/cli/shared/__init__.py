"""What the verbs share: options, output, tables, and inputs in portions."""
