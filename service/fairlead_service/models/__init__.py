"""Models on the server's side: the bundle on disk, the backends that evaluate it, the slot of the current one."""
