/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the module needs of the kernel that the `kernel` crate has no bindings
 * for: the hooks of KVM and of the FPU core, and the module's own trace events.
 */
#include <linux/kvm_host.h>
#include <asm/fpu/api.h>
#include <asm/fpu/xstate.h>
#include <asm/kvm_xfd.h>

#include "trace.h"

/* bindgen does not evaluate a macro that has an enumerator in it. */
const u64 RUST_CONST_HELPER_XFEATURE_MASK_USER_DYNAMIC = XFEATURE_MASK_USER_DYNAMIC;
