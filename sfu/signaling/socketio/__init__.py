"""Socket.IO protocol version 5: packets, and the one namespace that the application sees."""
