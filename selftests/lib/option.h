/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The long options of a test program, --NAME and --NAME=VALUE.  Short ones are
 * those of kselftest_harness.h.
 */
#ifndef SELFTESTS_LIB_OPTION_H
#define SELFTESTS_LIB_OPTION_H

struct xfd_option {
	const char *name;
	/* What its value is called in the usage; NULL if it has none. */
	const char *value_name;
	const char *help;
	/* What it is given, "" for one without a value; NULL if it is not given. */
	const char *value;
};

/*
 * Takes the long options out of @argv, sets the values of those in the two lists,
 * which end with an option without a name, and ends the program if one is in
 * neither.  Returns how many arguments are left.
 */
int xfd_options_take(int argc, char *argv[], struct xfd_option *common,
		     struct xfd_option *own);

void xfd_options_print(const struct xfd_option *options);

#endif /* SELFTESTS_LIB_OPTION_H */
