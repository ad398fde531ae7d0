"""Whether what is written to the lanes is read and answered, asked by tiny records now and then."""
