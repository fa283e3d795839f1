# router-usbip and router-status run in what is left of the initramfs.
[ ! -d /run/router/bin ] || PATH=$PATH:/run/router/bin
