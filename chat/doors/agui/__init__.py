"""The door for front ends that speak AG-UI 1.0, such as CopilotKit."""
