"""The processes of one machine: started, restarted, found through `run.json`, stopped."""
