"""What an operator sees and changes of the cluster through a gateway."""
