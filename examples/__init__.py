"""Host apps that show the library at work."""
