"""Socket.IO protocol version 5: packets, and the sockets of one session in their namespaces."""
