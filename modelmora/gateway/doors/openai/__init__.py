"""The door that speaks OpenAI's HTTP API, as far as the models here can."""
