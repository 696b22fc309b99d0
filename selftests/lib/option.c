// SPDX-License-Identifier: GPL-2.0
/* Long options. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kselftest.h"
#include "option.h"

static struct xfd_option *find(struct xfd_option *o, const char *name, size_t length)
{
	for (; o && o->name; o++) {
		if (strlen(o->name) == length && !memcmp(o->name, name, length))
			return o;
	}
	return NULL;
}

static void take(const char *name, struct xfd_option *common, struct xfd_option *own)
{
	size_t length = strcspn(name, "=");
	struct xfd_option *o;

	o = find(common, name, length) ?: find(own, name, length);
	if (!o || !!o->value_name != (name[length] == '=')) {
		fprintf(stderr, o ? "--%s: an option %s\n" : "--%s: no such option\n", name,
			o && o->value_name ? "with a value" : "without a value");
		xfd_options_print(common);
		xfd_options_print(own);
		exit(KSFT_FAIL);
	}
	o->value = o->value_name ? name + length + 1 : "";
}

int xfd_options_take(int argc, char *argv[], struct xfd_option *common,
		     struct xfd_option *own)
{
	int i, left = 1;

	for (i = 1; i < argc; i++) {
		if (!strncmp(argv[i], "--", 2))
			take(argv[i] + 2, common, own);
		else
			argv[left++] = argv[i];
	}
	argv[left] = NULL;
	return left;
}

void xfd_options_print(const struct xfd_option *o)
{
	char text[80];

	for (; o && o->name; o++) {
		snprintf(text, sizeof(text), "--%s%s%s", o->name, o->value_name ? "=" : "",
			 o->value_name ?: "");
		fprintf(stderr, "\t%-40s %s\n", text, o->help);
	}
}
