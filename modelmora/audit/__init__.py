"""Who did what: told as a signed chain of records for each process, and found true or not."""
