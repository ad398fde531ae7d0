"""gRPC: our own services, with health and reflection beside them."""
