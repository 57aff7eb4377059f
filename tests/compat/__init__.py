"""What real model servers send, played to a real fleet over sockets."""
