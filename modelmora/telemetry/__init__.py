"""What a process tells about itself: logs, health and metrics over HTTP, readiness."""
