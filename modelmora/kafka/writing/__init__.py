"""Records onto topics: waiting, handed to librdkafka one by one or in transactions, decided."""
