"""The door that MiraVeja's services come through, by gRPC and by HTTP."""
