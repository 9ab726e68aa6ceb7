"""What is published: the artifact."""
