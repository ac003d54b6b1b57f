#!/bin/sh
# Runs a machine of its own on a real systemd until it is powered off: boot.ts starts this as the first process of new mount
# and pid namespaces, so that every mount and every process is gone when this script is.
# Arguments: the cgroup directories to live in (nspawn divides the one that it finds itself in).
set -eu

for cgroup; do
  echo 0 >"$cgroup/cgroup.procs"
done

# Over directories that every machine has, and in a private namespace: nothing to clean up, and nspawn's own notes in /run
# never reach the machine outside.
mount -t tmpfs -o mode=0755 tmpfs /run
mount -t tmpfs -o mode=0755 tmpfs /mnt
cd /mnt
mkdir host
for dir in usr etc; do
  mkdir -p "upper/$dir" "work/$dir" "host/$dir"
  mount -t overlay -o "lowerdir=/$dir,upperdir=upper/$dir,workdir=work/$dir" overlay "host/$dir"
done

# Programs and account files are the machine's; homes, state, services and timers are not: what is tested here must not depend
# on what else the machine runs.
cd host
for link in bin sbin lib lib32 lib64 libx32; do
  if [ -e "usr/$link" ]; then ln -s "usr/$link" "$link"; fi
done
mkdir -m 0755 dev home opt proc run srv sys var var/log var/log/journal
mkdir -m 0700 root
mkdir -m 1777 tmp
rm -rf etc/systemd/system/* etc/systemd/user/* etc/init.d/* etc/rc*.d/* etc/cron* etc/profile.d/*
# Without an id this would be a first boot, which enables every unit there is.
tr -d - </proc/sys/kernel/random/uuid >etc/machine-id
echo reaper-test >etc/hostname
for empty in etc/fstab etc/resolv.conf; do
  rm -f "$empty"
  : >"$empty"
done

# 133 is nspawn's way to say that the machine wants to be booted again.
while :; do
  status=0
  systemd-nspawn --quiet --boot --register=no --keep-unit --private-network --link-journal=no --resolv-conf=off \
    --timezone=off --console=pipe --machine=reaper-test --directory=/mnt/host </dev/null || status=$?
  [ "$status" -eq 133 ] || exit "$status"
done
