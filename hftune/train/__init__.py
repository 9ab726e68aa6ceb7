"""The plan, the loop and what happens inside a step."""
