"""Pictures of what runs, drawn from what it tells; made by hand and kept in the documentation."""
