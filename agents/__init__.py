"""What Kafka sends us and what we send back."""
