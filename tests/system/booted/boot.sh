#!/usr/bin/env bash
# Starts a systemd of its own, as process 1 of namespaces of its own, over a copy of this machine's files that is gone afterwards.
# Of the machine itself it changes nothing: its files are seen through an overlay, its network not at all.
#
#   boot.sh DIRECTORY PROGRAM UNITS     DIRECTORY has relay.toml and trial.sh, and gets trial.log
set -euo pipefail
phase=${BOOT_PHASE:-outside}
directory=$1 program=$2 units=$3

if [ "$phase" = outside ]; then
    BOOT_PHASE=cgroup exec unshare --mount --propagation private bash "$0" "$@"
fi

if [ "$phase" = cgroup ]; then
    mkdir "$directory/cgroup"
    mount -t cgroup2 cgroup2 "$directory/cgroup"
    own=$directory/cgroup/taciturn-trial-$$
    mkdir "$own"
    trap 'find "$own" -depth -type d -exec rmdir {} + 2>/dev/null || true' EXIT
    (
        echo "$BASHPID" >"$own/cgroup.procs"
        BOOT_PHASE=inside exec timeout --kill-after=5 120 unshare --mount --pid --fork --kill-child --net --uts --ipc \
            --cgroup bash "$0" "$@"
    )
    exit
fi

# The copy of the files.
mkdir "$directory/overlay"
mount -t tmpfs tmpfs "$directory/overlay"
mkdir "$directory"/overlay/{upper,work,root}
root=$directory/overlay/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$directory/overlay/upper,workdir=$directory/overlay/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root"/dev/{shm,pts,mqueue,hugepages} "$root/run/lock"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
touch "$root/trial.log"
mount --bind "$directory/trial.log" "$root/trial.log"
ip link set lo up
# An address that peers may be reached at.
ip addr add 100.20.30.40/24 dev lo

# The relay as its package installs it, and nothing else that a machine starts.
rm -f "$root"/etc/systemd/system/*.wants/* "$root"/{usr/,}lib/systemd/system/*.wants/*
install -m 755 "$program" "$root/usr/bin/taciturn"
install -m 644 "$units/taciturn.service" "$units/taciturn.socket" "$root/etc/systemd/system/"
install -m 644 "$units/sysusers.d/taciturn.conf" "$root/usr/lib/sysusers.d/"
install -m 644 "$units/tmpfiles.d/taciturn.conf" "$root/usr/lib/tmpfiles.d/"
if [ "$(systemd-analyze --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')" -lt 253 ]; then
    mkdir -p "$root/etc/systemd/system/taciturn.service.d"
    install -m 644 "$units/taciturn.service.d/before-253.conf" "$root/etc/systemd/system/taciturn.service.d/"
fi
chroot "$root" systemd-sysusers taciturn.conf
chroot "$root" systemd-tmpfiles --create taciturn.conf
install -m 644 "$directory/relay.toml" "$root/etc/taciturn/"
chroot "$root" taciturn credentials secret --out /etc/taciturn/secret.key
chroot "$root" sh -c 'cd /etc/taciturn && chgrp taciturn-secrets secret.key && chmod 640 secret.key'

install -m 644 "$directory/trial.sh" "$root/trial.sh"
cat >"$root/etc/systemd/system/trial.service" <<UNIT
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/bin/bash /trial.sh
ExecStopPost=/bin/systemctl --no-block exit 0
StandardOutput=append:/trial.log
StandardError=append:/trial.log
UNIT
cat >"$root/etc/systemd/system/trial.target" <<UNIT
[Unit]
Wants=trial.service systemd-journald.service
After=systemd-journald.service
UNIT

mkdir "$root/outside"
cd "$root"
pivot_root . outside
cd /
umount -l /outside
# As a machine or a container starts it; credentials reach their service in this way.
mount --make-rshared /
for manager in /usr/lib/systemd/systemd /lib/systemd/systemd; do
    if [ -x "$manager" ]; then
        exec env -i container=trial PATH=/usr/sbin:/usr/bin:/sbin:/bin "$manager" --system --unit=trial.target \
            --show-status=no --log-level=warning --log-target=journal
    fi
done
