"""Who may do what: API keys and OpenID Connect tokens, the roles they carry, and the role that each route needs."""
