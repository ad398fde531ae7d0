"""Files of requests, and the batches made of them: what they are, and who works on them."""
