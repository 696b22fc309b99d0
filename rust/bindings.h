/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the module needs of the kernel that the `kernel` crate has no bindings
 * for: the hooks of KVM and of the FPU core.
 */
#include <linux/kvm_host.h>
#include <asm/fpu/api.h>
#include <asm/kvm_xfd.h>
