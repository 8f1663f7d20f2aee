"""Engine.IO protocol version 4: packets, sessions and the two transports that carry them."""
