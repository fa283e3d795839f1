"""Where a built system runs: QEMU on this computer, or a board."""
