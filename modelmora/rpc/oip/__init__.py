"""Stubs of protos/modelmora/rpc/oip (package inference)."""
