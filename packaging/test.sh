#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# make check-deb, inside of a Debian that is there for it alone: installs the packages of build/deb, lets
# DKMS build the module against the installed headers, looks at what is there, and purges them.
#
#	packaging/test.sh
set -eu
cd "$(dirname "$0")/../build/deb"
export DEBIAN_FRONTEND=noninteractive

fail() { # what, file that shows it
	echo "check-deb: $1" >&2
	[ -z "${2:-}" ] || tail -n 40 "$2" >&2
	exit 1
}
said() {
	echo "check-deb: $1: ok"
}
timed() { # name, command...
	began=$(date +%s)
	name=$1
	shift
	# Where `||` follows, set -e does not hold in here.
	"$@" || return
	echo "check-deb: $name took $(($(date +%s) - began)) s"
}

image=$(echo linux-image-*.deb) headers=$(echo linux-headers-*.deb) module=$(echo xfd-switch-dkms_*.deb)
kernel=$(dpkg-deb -f "$image" Package)
kernel=${kernel#linux-image-}
version=$(dpkg-deb -f "$module" Version)
config=usr/src/linux-headers-$kernel/include/config/auto.conf

# All files but those of dpkg's and apt's own records, of this test, and DKMS's own key.
there() {
	find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /root -o -path /tmp -o -path /var/log \
		-o -path /var/cache -o -path /var/lib/apt -o -path /var/lib/dpkg -o -path '/var/lib/dkms/mok.*' \) \
		-prune -o -print | LC_ALL=C sort
}

# Whether DKMS has a version installed, for our kernel, and has nothing else.
installed() { # version
	[ "$(dkms status -m xfd_switch)" = "xfd_switch/$1, $kernel, $(uname -m): installed" ]
}

# What the module's package needs is not what is tested.
depends=$(dpkg-deb -f "$module" Depends | tr ',' '\n' | sed 's/(.*//')
# shellcheck disable=SC2086 # words
apt-get install -y --no-install-recommends $depends
there >/tmp/before

timed 'installing' apt-get install -y --no-install-recommends "./$image" "./$headers" "./$module" >/tmp/install.log 2>&1 ||
	fail 'the packages cannot be installed' /tmp/install.log
grep took /tmp/install.log
installed "$version" ||
	fail "DKMS has not installed the module for $kernel" /tmp/install.log
said "DKMS has built it for $kernel"

modinfo -k "$kernel" xfd_switch >/tmp/modinfo || fail 'modinfo finds no xfd_switch'
cat /tmp/modinfo
has() { # field, pattern
	grep -qxE "$1: +$2" /tmp/modinfo || fail "modinfo's $1 is not as it should be" /tmp/modinfo
}
has filename "/lib/modules/$kernel/updates/dkms/xfd_switch.ko(.xz|.zst|.gz)?"
has name xfd_switch
has license GPL
has description 'Switch of XFD and XFD_ERR for KVM guests that use AMX'
has depends '(kvm|.*,kvm|kvm,.*|.*,kvm,.*)'
has vermagic "$kernel .*"
strategy=$(modprobe -S "$kernel" -c | sed -n 's/^options xfd_switch strategy=//p')
has parm "strategy:.*\\b$strategy\\b.*"
if grep -q '^CONFIG_MODULE_SIG=y' "/$config"; then
	has signer '.+'
fi
said 'modinfo'

modprobe -S "$kernel" --show-depends xfd_switch >/tmp/depends || fail 'modprobe does not know what to load'
cat /tmp/depends
tail -n 1 /tmp/depends | grep -q "^insmod .*/xfd_switch.ko[^ ]* strategy=$strategy" || fail 'modprobe does not give it the strategy' /tmp/depends
grep -q '^insmod .*/kvm-intel.ko' /tmp/depends || fail 'modprobe does not load kvm-intel before it' /tmp/depends
said "modprobe gives it strategy=$strategy, after kvm-intel"
grep -qx xfd_switch /etc/modules-load.d/xfd_switch.conf || fail 'it is not loaded at boot'
said 'loaded at boot'

document=$(sed -n 's|.*\(/usr/share/doc/[^ ]*\.rst\).*|\1|p' /etc/modprobe.d/xfd_switch.conf)
[ -s "$document" ] || fail "modprobe.conf names \"$document\" to read, which is not there"
said "$document is there to be read"

# Two kernels that are none of ours: DKMS has to leave the first alone, and the second has to be a failure
# that apt shows the reason of.
other() { # name, sed's change of the configuration, symbols
	mkdir -p "/lib/modules/$1/build/include/config"
	sed "$2" "/$config" >"/lib/modules/$1/build/include/config/auto.conf"
	printf '%s' "$3" >"/lib/modules/$1/build/Module.symvers"
}
other 0-stock '' ''
status=0
dkms build -m xfd_switch -v "$version" -k 0-stock >/tmp/other.log 2>&1 || status=$?
rm -rf /lib/modules/0-stock
[ $status -eq 77 ] || fail "DKMS does not leave a kernel without the series alone, but ends with $status" /tmp/other.log
said 'a kernel without the series is left alone'
other 0-rustc 's/^CONFIG_RUSTC_VERSION_TEXT=.*/CONFIG_RUSTC_VERSION_TEXT=rustc 1.0/' 'kvm_register_xfd_ops'
! apt-get install -y --reinstall "./$module" >/tmp/other.log 2>&1 || fail 'another rustc is no failure' /tmp/other.log
grep -q '^xfd_switch: the kernel was built with "rustc 1.0"' /tmp/other.log || fail 'apt does not show that it is another rustc' /tmp/other.log
grep -q '^  next: .*dpkg --configure -a' /tmp/other.log || fail 'apt does not show what to do about another rustc' /tmp/other.log
rm -rf /lib/modules/0-rustc
dpkg --configure -a >/tmp/other.log 2>&1 || fail 'the module cannot be configured once the cause is gone' /tmp/other.log
installed "$version" || fail 'the module is not there once the cause is gone' /tmp/other.log
said 'another rustc is a failure that names it, and that can be mended'

# The next version, where the user has changed a file that is his.
next=$version+next
dpkg-deb -R "$module" /tmp/next
grep -rlF "$version" /tmp/next | xargs sed -i "s/$version/$next/g"
mv "/tmp/next/usr/src/xfd_switch-$version" "/tmp/next/usr/src/xfd_switch-$next"
echo '# changed' >>/etc/modprobe.d/xfd_switch.conf
dpkg-deb --root-owner-group -b /tmp/next /tmp/next.deb
timed 'upgrading' apt-get install -y /tmp/next.deb >/tmp/upgrade.log 2>&1 ||
	fail 'the module cannot be upgraded' /tmp/upgrade.log
grep took /tmp/upgrade.log
installed "$next" ||
	fail 'DKMS has not put the next version in its place' /tmp/upgrade.log
[ ! -e "/usr/src/xfd_switch-$version" ] || fail 'the sources of the version before are left'
grep -qx '# changed' /etc/modprobe.d/xfd_switch.conf || fail 'an upgrade has changed the configuration'
said 'an upgrade puts the next version in its place, and leaves the configuration alone'

timed 'purging' apt-get purge -y xfd-switch-dkms "linux-headers-$kernel" "linux-image-$kernel" >/tmp/purge.log 2>&1 ||
	fail 'the packages cannot be purged' /tmp/purge.log
grep took /tmp/purge.log
there >/tmp/after
diff /tmp/before /tmp/after >/tmp/left || fail 'something is left, or missing' /tmp/left
said 'nothing is left'
