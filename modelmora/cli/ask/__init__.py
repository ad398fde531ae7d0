"""Asking models from the shell, through the gateway and over Kafka."""
