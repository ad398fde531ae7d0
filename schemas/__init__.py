"""The shape of every message: the Avro schemas, read through importlib.resources."""
