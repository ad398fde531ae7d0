"""What requests cost, and how the processes that share budgets tell each other what was used."""
