# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034,SC2154 # what is set on one side is used on the other
# What check-fresh and check-deb share: a minimal Debian in a directory, and commands as its root. To be
# sourced at the repository's root, with $dir, $release and $target set: what is made for the test,
# the Debian release, and the target of make that this is.
#
# All that runs inside has namespaces of its own for mounts and processes, so that nothing is left of
# either whatever ends the script.

fail() { # what, next step, log
	{
		echo "lab: error: $1"
		if [ -n "${3:-}" ]; then
			tail -n 6 "$3" | sed 's/^/    /'
			echo "  log:  $3"
		fi
		echo "  next: $2"
	} >&2
	exit 1
}

# Where the new Debian is.
root=$PWD/$dir/root

child=
# shellcheck disable=SC2317 # the traps call it
end() {
	status=$?
	trap '' INT TERM HUP
	# Its first process takes all others inside along.
	if [ -n "$child" ]; then
		kill -KILL "$child" 2>/dev/null || true
		wait "$child" 2>/dev/null || true
	fi
	if [ "${KEEP:-}" = yes ] && [ -d "$root" ]; then
		echo "lab: kept: $root (chroot $root)" >&2
	else
		rm -rf --one-file-system "$root"
	fi
	exit "$status"
}

# Makes room for it, and has all of it removed in the end.
make_room() { # GiB, time that the test takes, command that starts it
	[ "$(id -u)" -eq 0 ] || fail "$target makes a chroot, which only root can" "sudo $3"
	mkdir -p "$dir"
	rm -rf --one-file-system "$root"
	rm -f "$dir"/*.log "$dir"/*.json
	free=$(df --output=avail -BG "$dir" | tr -dc '0-9\n' | tail -n 1)
	echo "lab: $target $release: needs $1 GiB in $dir ($free GiB are free) and about $2" >&2
	[ "$free" -ge "$1" ] || fail "the disk is too full: $free GiB are free in $dir" 'free some space, then run the same command again'
	git diff --quiet HEAD || echo 'lab: changes that are not committed are not tested' >&2
	lab/packages.sh fresh
	trap end EXIT
	trap 'exit 130' INT TERM HUP
}

# Runs a command, its output here and in a log; returns its status.
logged() { # log, command...
	local log=$1 status=0
	shift
	"$@" > >(tee "$log") 2>&1 </dev/null &
	child=$!
	wait "$child" || status=$?
	child=
	return "$status"
}

# Namespaces for what runs next: its mounts end with it, and it ends with the first of its processes.
apart=(unshare --mount --pid --fork --kill-child --mount-proc)

# The same inside, with what reaches the network from here: proxies, and how cargo is to fetch.
inside() { # log, shell command
	local log=$1 pass=() name
	for name in $(compgen -e | grep -iE '^(https?|ftp|no|all)_proxy$|^CARGO_(HTTP|NET|REGISTR)' || true) JOBS; do
		[ -z "${!name:-}" ] || pass+=("$name=${!name}")
	done
	# shellcheck disable=SC2016 # expanded by the shell in the namespaces
	logged "$log" "${apart[@]}" sh -c '
		set -eu
		root=$1 downloads=$2 command=$3
		shift 3
		mount -t proc proc "$root/proc"
		mount -t sysfs -o ro sysfs "$root/sys"
		mount --rbind /dev "$root/dev"
		mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
		if [ -n "$downloads" ]; then
			mkdir -p "$root/root/downloads"
			mount --bind "$downloads" "$root/root/downloads"
			set -- "$@" DOWNLOADS=/root/downloads
		fi
		chroot "$root" env -i HOME=/root LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@" sh -c "$command"
	' sh "$root" "${DOWNLOADS:+$(realpath "$DOWNLOADS")}" "$2" "${pass[@]}"
}

# The mirror that this machine uses for an archive of Debian, by the label in its index.
mirror() { # label, otherwise
	local uri
	# shellcheck disable=SC2016 # apt's own
	uri=$(apt-get indextargets --format '$(ORIGIN)/$(LABEL) $(REPO_URI)' 2>/dev/null |
		sed -n "s|^Debian/$1 ||p" | sort -u | head -n 1)
	echo "${uri:-$2}"
}

# Makes the new Debian, and in its /root/xfd_switch a clone of the committed HEAD.
make_debian() {
	local debian security proxy
	debian=$(mirror Debian http://deb.debian.org/debian/)
	security=$(mirror Debian-Security http://deb.debian.org/debian-security/)
	eval "$(apt-config shell proxy Acquire::http::Proxy)"
	if [ -n "${proxy:-}" ] && [ "$proxy" != DIRECT ]; then
		export http_proxy="${http_proxy:-$proxy}"
	fi
	# debootstrap mounts, too.
	logged "$dir/debootstrap.log" "${apart[@]}" debootstrap --variant=minbase "$release" "$root" "$debian" ||
		fail "a minimal $release could not be made from $debian" \
			"make 'apt-get update' work here, then run the same command again" "$dir/debootstrap.log"
	cat >"$root/etc/apt/sources.list" <<-EOS
		deb $debian $release main
		deb $debian $release-updates main
		deb $security $release-security main
	EOS
	# How this machine reaches the world: apt's settings, names, and certificates of its own, which the
	# package ca-certificates takes up when it is installed.
	apt-config dump Acquire >"$root/etc/apt/apt.conf.d/90host" || true
	cp -L /etc/resolv.conf "$root/etc/resolv.conf"
	if [ -d /usr/local/share/ca-certificates ]; then
		mkdir -p "$root/usr/local/share"
		cp -RL /usr/local/share/ca-certificates "$root/usr/local/share/"
	fi
	# What is committed while this runs is not what is tested.
	commit=$(git rev-parse HEAD)
	git bundle create --quiet "$root/root/xfd_switch.bundle" HEAD --tags
	inside "$dir/clone.log" 'export DEBIAN_FRONTEND=noninteractive
		apt-get update && apt-get install -y make git && git clone -q /root/xfd_switch.bundle /root/xfd_switch' ||
		fail 'make and git could not be installed in the new Debian, or the repository not be cloned' \
			'without a network nothing can be: make apt-get work here, then run the same command again' "$dir/clone.log"
}
