"""A version tried on what was asked before: past requests copied for it, outcomes collected."""
