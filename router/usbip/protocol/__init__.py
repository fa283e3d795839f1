"""What is on the wire and in descriptors: handshake, URBs, devices, classes and names. No files, no sockets."""
