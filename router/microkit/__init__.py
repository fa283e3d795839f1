# SPDX-License-Identifier: BSD-2-Clause
"""What Microkit reads: the system description file, written for the SDK version at hand, and where SDKs are found."""
