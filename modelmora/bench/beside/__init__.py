"""What ModelMora is measured beside: the bare model, a bare Faust agent, the door alone, others."""
