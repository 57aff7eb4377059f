"""What servers that call themselves OpenAI-compatible send, as one normal form. No I/O."""
