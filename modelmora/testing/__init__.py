"""Fakes and test engines that ship with the package."""
