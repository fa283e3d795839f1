"""One module per target: `one_input(data)` raises for a bug, `seeds()` gives honest inputs."""
