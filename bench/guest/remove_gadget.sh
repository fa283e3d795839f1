# SPDX-License-Identifier: BSD-2-Clause
# remove_gadget.sh FOLDER: unplugs a gadget and removes its folder in configfs.
[ -d "$1" ] || exit 0
cd "$1" || exit 1
echo >UDC 2>/dev/null
rm configs/*/*.*
if [ -d functions/uvc.0 ]; then
    cd functions/uvc.0 || exit 1
    rm control/class/*/h streaming/class/*/h streaming/header/h/u
    rmdir control/header/h streaming/header/h streaming/uncompressed/u/1 streaming/uncompressed/u
    cd ../..
fi
rmdir configs/* functions/* strings/*
cd ..
rmdir "$1"
