"""What moves the data of an exported device: the kernel's usbip-host, or usbfs from user space."""
