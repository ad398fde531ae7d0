"""Generated stubs of the gRPC services; written by `python -m grpc_tools.protoc`."""
