"""The fault programme: everything is killed many times, then every outcome is checked."""
