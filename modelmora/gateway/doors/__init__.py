"""The doors that speak what others have named: each translates and decides nothing."""
