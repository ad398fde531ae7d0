"""The delivery protocol: a model of it in TLA+, and the real code on a broker that is made up."""
