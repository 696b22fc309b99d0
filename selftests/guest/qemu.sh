# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# QEMU with Linux guests, for the scenarios of list.toml. A guest has a name; what it and its QEMU
# write lies in $guests/NAME. Whatever goes wrong ends the script, with what there is to read.

here=/add/guest
guests=/tmp/guests
tracing=/sys/kernel/tracing

# All that has been started, to be ended with the script.
started=
# Clock ticks that QEMU's processes have spent in the host's kernel.
kernel_ticks=0
ids=0

die() {
	for log in "$guests"/*/serial.out "$guests"/*/qemu.out "$guests"/*/qmp.out; do
		if [ -s "$log" ]; then
			echo "# the end of $log:"
			tail -n 12 "$log" | cut -c 1-200 | sed 's/^/#   /'
		fi
	done
	echo "not ok 1 $*"
	exit 1
}

# Nobody is left when the scenario is over: what comes next may want to unload the module.
clean_up() {
	for pid in $started; do
		kill -KILL "$pid" 2>/dev/null
	done
	wait 2>/dev/null
	rm -rf "$guests"
	figures_off
}

# What a script has left that was killed.
killall -q -KILL ld-linux-x86-64.so.2
rm -rf "$guests"
mkdir -p "$guests"
trap clean_up EXIT

# qemu_run NAME [QEMU OPTIONS]: $qemu is the program, Debian's if it is empty.
qemu_run() {
	name=$1
	shift
	dir=$guests/$name
	mkdir "$dir"
	mkfifo "$dir/serial.in" "$dir/qmp.in"
	touch "$dir/serial.out" "$dir/qmp.out"
	(
		# A fifo that has a writer neither blocks who opens it, nor ends.
		exec 8<>"$dir/serial.in" 9<>"$dir/qmp.in"
		exec "$here/qemu/lib/ld-linux-x86-64.so.2" --library-path "$here/qemu/lib" \
			"${qemu:-$here/qemu/bin/qemu}" -L "$here/qemu/share" \
			-M microvm,acpi=off,rtc=on,auto-kernel-cmdline=off \
			-accel "${guest_accel:-kvm}" -cpu "${guest_cpu:-host}" \
			-nodefaults -no-user-config -display none \
			-action "reboot=${guest_reboot:-shutdown},shutdown=pause" \
			-chardev "file,id=serial,path=$dir/serial.out,append=on,input-path=$dir/serial.in" \
			-serial chardev:serial \
			-chardev "file,id=qmp,path=$dir/qmp.out,append=on,input-path=$dir/qmp.in" \
			-mon chardev=qmp,mode=control "$@"
	) >"$dir/qemu.out" 2>&1 &
	echo $! >"$dir/pid"
	started="$started $!"
}

# qemu_start NAME [QEMU OPTIONS]: it answers to qmp then.
qemu_start() {
	qemu_run "$@"
	qmp "$1" qmp_capabilities
}

# qemu_refuses NAME WORDS [QEMU OPTIONS]: it ends, and WORDS are why.
qemu_refuses() {
	words=$2
	name=$1
	shift 2
	qemu_run "$name" "$@"
	tries=0
	while alive "$name"; do
		tries=$((tries + 1))
		[ $tries -lt 600 ] || die "$name: QEMU goes on, and should refuse"
		sleep 0.1
	done
	if wait "$(cat "$guests/$name/pid")"; then
		die "$name: QEMU ended as if all were well, and should refuse"
	fi
	grep -qF -e "$words" "$guests/$name/qemu.out" || die "$name: QEMU does not say \"$words\""
}

# guest_start NAME CPUS WORDS [QEMU OPTIONS]: WORDS are the kernel's, and the workload's. It ends paused.
guest_start() {
	name=$1 cpus=$2 words=$3
	shift 3
	qemu_start "$name" -smp "$cpus" -m 80 \
		-kernel "$here/bzImage" -initrd "$here/${guest_initrd:-initrd}" \
		-append "console=ttyS0 loglevel=5 reboot=t panic=-1 $words" "$@"
}

alive() {
	kill -0 "$(cat "$guests/$1/pid")" 2>/dev/null
}

# qmp NAME COMMAND [ARGUMENTS]: its answer is in $answer.
qmp() {
	dir=$guests/$1
	ids=$((ids + 1))
	echo "{\"execute\": \"$2\", \"arguments\": ${3:-{\}}, \"id\": $ids}" >"$dir/qmp.in"
	tries=0
	until answer=$(grep "\"id\": ${ids}[,}]" "$dir/qmp.out"); do
		alive "$1" || die "$1: QEMU has ended"
		tries=$((tries + 1))
		[ $tries -lt 600 ] || die "$1: QEMU does not answer to $2"
		sleep 0.1
	done
	case $answer in
	*'"error"'*) die "$1: $2: $answer" ;;
	esac
}

# job NAME COMMAND ARGUMENTS: a QMP command that is a job "job", to its end.
job() {
	qmp "$1" "$2" "$3"
	until qmp "$1" query-jobs && case $answer in *'"concluded"'*) ;; *) false ;; esac; do
		sleep 0.1
	done
	case $answer in
	*'"error"'*) die "$1: $2: $answer" ;;
	esac
	qmp "$1" job-dismiss '{"id": "job"}'
}

# guest_said NAME WORDS: how many of its lines have these words.
guest_said() {
	grep -c -F -e "$2" "$guests/$1/serial.out"
}

# guest_wait NAME WORDS [TIMES]: until it has said so.
guest_wait() {
	last='' quiet=0
	until [ "$(guest_said "$1" "$2")" -ge "${3:-1}" ]; do
		alive "$1" || die "$1: QEMU has ended before the guest said \"$2\""
		now=$(tail -n 2 "$guests/$1/serial.out")
		quiet=$((quiet + 1))
		if [ "$now" != "$last" ]; then
			last=$now quiet=0
		fi
		[ $quiet -lt 300 ] || die "$1: hangs: it says nothing more, and not \"$2\""
		sleep 0.2
	done
}

# guest_works NAME TIMES: until it has done some more rounds.
guest_works() {
	guest_wait "$1" "guest: round" $(($(guest_said "$1" "guest: round") + ${2:-1}))
}

# What one that works without end is told at its end.
guest_tell() {
	echo >"$guests/$1/serial.in"
}

# guest_quit NAME: QEMU's end.
guest_quit() {
	pid=$(cat "$guests/$1/pid")
	# utime and stime are the 14th and the 15th field, and the 2nd has no blank.
	kernel_ticks=$((kernel_ticks + $(cut -d ' ' -f 15 "/proc/$pid/stat")))
	qmp "$1" quit
	wait "$pid" || die "$1: QEMU ended with $?"
}

# guest_end NAME [TIMES]: waits for its last word, and judges it.
guest_end() {
	guest_wait "$1" "guest: end" "${2:-1}"
	guest_well "$1"
	guest_quit "$1"
}

# guest_well NAME: nothing of what it has said until now is a complaint.
guest_well() {
	out=$guests/$1/serial.out
	if grep -q -e '^guest: wrong' "$out"; then
		die "$1: $(grep -m 1 -e '^guest: wrong' "$out")"
	fi
	if grep '^guest: end' "$out" | grep -qv ' wrong=0 lost=0 taint=0'; then
		die "$1: $(grep -m 1 '^guest: end' "$out")"
	fi
	if grep -q -e 'BUG: ' -e 'WARNING: ' -e 'Oops' -e 'Call Trace' -e 'Kernel panic' "$out"; then
		die "$1: the guest's kernel complained"
	fi
}

# guest_migrate FROM TO CPUS WORDS [QEMU OPTIONS]: TO is a new QEMU, and FROM's ends.
guest_migrate() {
	from=$1 to=$2
	shift
	guest_start "$@" -incoming "unix:$guests/$to.socket"
	guest_move "$from" "$to"
}

# guest_move FROM TO: the latter is a QEMU that waits for it at TO.socket.
guest_move() {
	from=$1 to=$2
	qmp "$from" migrate "{\"uri\": \"unix:$guests/$to.socket\"}"
	guest_sent "$from"
	guest_well "$from"
	guest_quit "$from"
	guest_arrived "$to"
}

# guest_sent NAME: until its migration is completed.
guest_sent() {
	until qmp "$1" query-migrate && case $answer in *'"status": "completed"'*) ;; *) false ;; esac; do
		case $answer in
		*'"status": "failed"'*) die "$1: the migration failed: $answer" ;;
		esac
		sleep 0.1
	done
}

# guest_arrived NAME: until its QEMU has loaded what came to it. One that was stopped still is.
guest_arrived() {
	while qmp "$1" query-status && case $answer in *'"inmigrate"'*) ;; *) false ;; esac; do
		sleep 0.1
	done
}

# The guest of dormant.c, which keeps tiles in use that its XFD disables, in Debian's QEMU and in that of
# patches/qemu, "ours".
ours=/add/vmm/qemu
dormant='-smp 1 -m 16 -bios /add/vmm/dormant'
# What scenarios have found, as JSON.
kept=

# Whether new VMs are such that KVM has KVM_CAP_X86_XFD_XSTATE for.
xfd_deferred() {
	[ -d /sys/module/xfd_switch ]
}

# dormant_vmm VMM: "debian", or what ours is given as xfd-xstate.
dormant_vmm() {
	qemu='' guest_accel=kvm
	if [ "$1" != debian ]; then
		qemu=$ours guest_accel=kvm,xfd-xstate=$1
	fi
}

# dormant_start NAME: until its tiles are dormant.
dormant_start() {
	# shellcheck disable=SC2086 # they are words
	qemu_start "$1" $dormant
	guest_wait "$1" "guest: dormant"
}

# dormant_comes NAME URI: a QEMU that such a guest comes to.
dormant_comes() {
	# shellcheck disable=SC2086
	qemu_start "$1" $dormant -incoming "$2"
}

# dormant_refused NAME WORDS [QEMU OPTIONS]: instead of that, it ends and says WORDS.
dormant_refused() {
	# shellcheck disable=SC2086
	qemu_refuses "$@" $dormant
}

# dormant_unwanted IMAGE: everyone refuses it who would lose what is in it.
dormant_unwanted() {
	dormant_vmm debian
	dormant_refused unwanted-debian "while loading state for instance 0x0 of device 'cpu'" \
		-incoming "exec:cat $1"
	dormant_vmm off
	dormant_refused unwanted-off "The guest has XSAVE state in use that its XFD disables" \
		-incoming "exec:cat $1"
	if ! xfd_deferred; then
		dormant_vmm auto
		dormant_refused unwanted-auto "The guest has XSAVE state in use that its XFD disables" \
			-incoming "exec:cat $1"
	fi
}

# dormant_loads WHAT IMAGE
dormant_loads() {
	dormant_comes "loads-$1" "exec:cat $2"
	guest_arrived "loads-$1"
	qmp "loads-$1" cont
	dormant_wakes "loads-$1" "$1"
}

# dormant_wakes NAME WHAT: how many bytes it has kept is what came of WHAT.
dormant_wakes() {
	guest_tell "$1"
	guest_wait "$1" "guest: woken armed=yes kept="
	bytes=$(tr -d '\r' <"$guests/$1/serial.out" | sed -n 's/^guest: woken .*kept=//p')
	kept="$kept${kept:+,}\"$2\":$bytes"
	guest_quit "$1"
}

# host_start NAME WORDS: the same workload as a process of the host's.
host_start() {
	mkdir "$guests/$1"
	mkfifo "$guests/$1/serial.in"
	# shellcheck disable=SC2086 # they are words
	"$here/workload" $2 <>"$guests/$1/serial.in" >"$guests/$1/serial.out" 2>&1 &
	echo $! >"$guests/$1/pid"
	started="$started $!"
}

# host_end NAME
host_end() {
	guest_tell "$1"
	wait "$(cat "$guests/$1/pid")" || die "$1: the host's own processes"
	guest_well "$1"
}

# Exits by their reason, #NM exits, and accesses of XFD and XFD_ERR, from trace events, counted by the
# host's kernel until figures_end.
kvm_exits='hist:keys=exit_reason,intr_info'
accesses='hist:keys=msr if msr==0x1c4||msr==0x1c5'

trigger() {
	echo "$2" >>"$tracing/events/$1/trigger"
}

figures_begin() {
	trigger kvm/kvm_exit "$kvm_exits" || die "the host's kernel cannot count exits"
	trigger msr/read_msr "$accesses" || die "the host's kernel cannot count RDMSR"
	trigger msr/write_msr "$accesses" || die "the host's kernel cannot count WRMSR"
}

# They begin anew: what has been until now is not of interest.
figures_again() {
	trigger kvm/kvm_exit "$kvm_exits:clear"
	trigger msr/read_msr "${accesses% if *}:clear if ${accesses#* if }"
	trigger msr/write_msr "${accesses% if *}:clear if ${accesses#* if }"
}

figures_off() {
	trigger kvm/kvm_exit "!$kvm_exits"
	trigger msr/read_msr "!$accesses"
	trigger msr/write_msr "!$accesses"
} 2>/dev/null

# What all of the above has come to.
figures_end() {
	for event in kvm/kvm_exit msr/read_msr msr/write_msr; do
		echo "event $event"
		tr -d '{},' <"$tracing/events/$event/hist"
	done >"$guests/hist"
	cat "$guests"/*/serial.out | awk -v ticks=$kernel_ticks -v kept="$kept" '
		$1 == "event" { event = $2 }
		/^ *[a-z_]*: .*hitcount:/ {
			delete key
			for (i = 1; i < NF; i += 2)
				key[$i] = $(i + 1)
			n = key["hitcount:"]
			count[event] += n
			if (event == "kvm/kvm_exit") {
				reasons[key["exit_reason:"]] += n
				# A hardware exception with vector 7, the valid bit set.
				if (key["exit_reason:"] == 0 && key["intr_info:"] == "2147484423")
					nm += n
			}
		}
		/^guest: end/ {
			sub("products=", "", $3)
			sub("wrong=", "", $4)
			products += $3
			wrong += $4
		}
		END {
			printf "#XFD {\"exits\":%d,\"rdmsr\":%d,\"wrmsr\":%d,\"nm_exits\":%d,",
				count["kvm/kvm_exit"], count["msr/read_msr"], count["msr/write_msr"], nm
			printf "\"products\":%d,\"wrong\":%d,\"kernel_ticks\":%d,\"reasons\":{",
				products, wrong, ticks
			for (reason in reasons) {
				printf "%s\"%s\":%d", comma, reason, reasons[reason]
				comma = ","
			}
			if (kept)
				kept = ",\"kept\":{" kept "}"
			print "}" kept "}"
		}' "$guests/hist" -
}
