# SPDX-License-Identifier: BSD-2-Clause
# camera_function.sh: descriptors of a camera's function, in the gadget's folder (Documentation/usb/gadget-testing.rst).
cd functions/uvc.0 || exit 1
mkdir control/header/h streaming/uncompressed/u streaming/uncompressed/u/1 streaming/header/h
echo 16 >streaming/uncompressed/u/1/wWidth
echo 16 >streaming/uncompressed/u/1/wHeight
echo 333333 >streaming/uncompressed/u/1/dwFrameInterval
ln -s streaming/uncompressed/u streaming/header/h/u
for speed in fs hs; do ln -s streaming/header/h "streaming/class/$speed/h"; done
for speed in fs ss; do ln -s control/header/h "control/class/$speed/h"; done
cd ../..
