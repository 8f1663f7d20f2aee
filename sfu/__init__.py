"""trio-sfu: a WebRTC SFU for emulator netplay, on Trio."""
