"""ModelMora: the Kafka-native model server."""

__version__ = "0.1.0"
__all__ = ["__version__"]
