"""The API of OpenAI, as its clients and many front ends speak it: chat completions and models."""
