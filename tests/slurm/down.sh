#!/usr/bin/env bash
# Ends what up.sh started, jobs included, and removes its configuration: with a slurm.conf but no slurmctld, every call of
# Snakemake waits ten seconds for an answer. Logs stay; --purge removes them too.
set -euo pipefail

root=${SLURM_TEST_DIR:-/var/lib/slurm-test}
mark='# written by tests/slurm/up.sh'

[[ -d $root/run ]] || exit 0
exec 9> "$root/run/lock"
flock -w 120 9

stop() { # NAME: end the process in our pid file, if it is of that name
    local file=$root/run/$1.pid pid
    pid=$(cat "$file" 2> /dev/null) && [[ $(cat "/proc/$pid/comm" 2> /dev/null) == "$1" ]] || return 0
    kill "$pid"
    for _ in {1..100}; do
        [[ -d /proc/$pid ]] || break
        sleep 0.1
    done
    [[ ! -d /proc/$pid ]] || kill -9 "$pid" || true
    rm -f "$file"
}

# jobs first: slurmd leaves those that run alone
if head -n 1 /etc/slurm/slurm.conf 2> /dev/null | grep -qF "$mark"; then
    timeout 10 scancel --user="$(id -un)" 2> /dev/null || true
    for _ in {1..60}; do
        [[ -n $(timeout 10 squeue -h -t RUNNING,COMPLETING 2> /dev/null) ]] || break
        sleep 0.25
    done
fi
for name in slurmd slurmctld munged; do stop "$name"; done
for file in /etc/slurm/slurm.conf /etc/slurm/gres.conf; do
    if [[ -e $file ]] && head -n 1 "$file" | grep -qF "$mark"; then rm "$file"; fi
done
if [[ ${1:-} == --purge ]]; then rm -rf -- "$root"; fi
