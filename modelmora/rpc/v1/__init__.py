"""Stubs of protos/modelmora/rpc/v1 (package modelmora.v1)."""
