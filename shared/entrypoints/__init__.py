"""Where triggers come in: each turns one trigger into one call and one answer."""
