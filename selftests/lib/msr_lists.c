// SPDX-License-Identifier: GPL-2.0
/* The VMX MSR lists, by the dump of a VMCS that no CPU enters. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "kvm_util.h"
#include "module.h"
#include "msr_lists.h"
#include "processor.h"

#define KMSG		"/dev/kmsg"
#define PRINTK		"/proc/sys/kernel/printk"
#define DUMP_VMCS	"/sys/module/kvm_intel/parameters/dump_invalid_vmcs"

int xfd_msr_list_entries(struct kvm_vcpu *vcpu)
{
	struct kvm_sregs sregs;
	char record[1024], level[64] = "";
	int kmsg, printk, entries = 0;
	ssize_t n;

	if (access(DUMP_VMCS, W_OK))
		return -1;

	kmsg = open(KMSG, O_RDONLY | O_NONBLOCK);
	TEST_ASSERT(kmsg >= 0 && lseek(kmsg, 0, SEEK_END) >= 0, "cannot read " KMSG);
	/* The dump is for us alone: a console is slow. */
	printk = open(PRINTK, O_RDONLY);
	TEST_ASSERT(printk >= 0 && read(printk, level, sizeof(level) - 1) > 0,
		    "cannot read " PRINTK);
	close(printk);
	xfd_write_to(PRINTK, "1");
	xfd_write_to(DUMP_VMCS, "Y");

	/* No processor enters a guest without a task register. */
	vcpu_sregs_get(vcpu, &sregs);
	sregs.tr.unusable = 1;
	vcpu_sregs_set(vcpu, &sregs);
	vcpu_run(vcpu);
	TEST_ASSERT_KVM_EXIT_REASON(vcpu, KVM_EXIT_FAIL_ENTRY);

	xfd_write_to(DUMP_VMCS, "N");
	xfd_write_to(PRINTK, level);
	while ((n = read(kmsg, record, sizeof(record) - 1)) > 0) {
		record[n] = '\0';
		entries += !!strstr(record, ": msr=0x");
	}
	close(kmsg);
	return entries;
}
