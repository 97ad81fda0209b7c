"""In vLLM's place, so that nobody waits for the import of the real one."""
