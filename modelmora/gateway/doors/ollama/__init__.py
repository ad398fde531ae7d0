"""The door that speaks Ollama's HTTP API, as far as the models here can."""
