"""The security core: secrets, identities, decisions, leases, access records. No I/O, no Azure, no logging."""
