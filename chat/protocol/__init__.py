"""What travels over the socket: requests, events, the words both use, and errors."""
