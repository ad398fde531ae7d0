"""The door to files and batches, as OpenAI has them: `/v1/files` and `/v1/batches`."""
