"""What the scheduler promises: waits as told, work done in time, nodes that share and follow."""
