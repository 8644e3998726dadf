#!/usr/bin/env bash
# A real SLURM cluster of this machine alone, for tests, from Debian's packages and without systemd: munged, slurmctld and
# slurmd, no accounting. Needs root; down.sh ends it. Succeeds when `srun hostname` does; a cluster of its own that works
# is left as it is.
#
#   SLURM_TEST_DIR=/var/lib/slurm-test    state, logs and pid files
#   SLURM_TEST_GPUS=2                     cards that jobs can ask for; they compute nothing
set -euo pipefail

root=${SLURM_TEST_DIR:-/var/lib/slurm-test}
gpus=${SLURM_TEST_GPUS:-2}
etc=/etc/slurm
mark='# written by tests/slurm/up.sh'

say() { echo "slurm: $*" >&2; }
die() {
    say "FAILED: $*"
    for log in "$root"/log/{apt,munged,slurmctld,slurmd}.log; do
        if [[ -s $log ]]; then
            say "--- end of $log"
            tail -n 8 "$log" >&2
        fi
    done
    exit 1
}
wait_for() { # SECONDS COMMAND...: until it succeeds
    local end=$((SECONDS + $1))
    shift
    until "$@" > /dev/null 2>&1; do
        ((SECONDS < end)) || return 1
        sleep 0.1
    done
}
runs() { # NAME: whether the process in our pid file is of that name
    local pid
    pid=$(cat "$root/run/$1.pid" 2> /dev/null) && [[ $(cat "/proc/$pid/comm" 2> /dev/null) == "$1" ]]
}
munge_answers() { munge -n < /dev/null | unmunge; }
is_idle() { [[ $(timeout 5 sinfo -h -n "$host" -o %T | head -n 1) == idle ]]; }
works() { [[ -n $(timeout 15 srun -n1 -t1 --immediate=8 hostname 2> /dev/null) ]]; }

[[ $(id -u) == 0 ]] || die "not root"
mkdir -p "$root"/{log,run,state,spool,dev}
exec 9> "$root/run/lock"
flock -w 120 9 || die "up.sh or down.sh is running already"

missing=()
for pair in munged:munge slurmctld:slurmctld slurmd:slurmd srun:slurm-client; do
    command -v "${pair%:*}" > /dev/null || missing+=("${pair#*:}")
done
if ((${#missing[@]})); then
    export DEBIAN_FRONTEND=noninteractive
    install_missing() { apt-get install -y -qq --no-install-recommends "${missing[@]}" >> "$root/log/apt.log" 2>&1 9>&-; }
    install_missing || { apt-get update -qq >> "$root/log/apt.log" 2>&1 9>&- && install_missing; } || die "apt-get install"
fi

if [[ -e $etc/slurm.conf ]] && ! head -n 1 "$etc/slurm.conf" | grep -qF "$mark"; then
    die "$etc/slurm.conf is another cluster's"
fi
if runs slurmctld && runs slurmd && works; then
    say "up already"
    exit 0
fi
[[ ! -e $etc/slurm.conf ]] || die "what an earlier up.sh left does not work: run down.sh first"

host=$(hostname -s)
hardware=$(slurmd -C 2> /dev/null | head -n 1)
cpus=$(grep -oP '\bCPUs=\K\d+' <<< "$hardware") || die "slurmd -C: $hardware"
topology=$(grep -oP 'Boards=.*ThreadsPerCore=\d+' <<< "$hardware")
# a node that has less memory than it declares is drained
memory=$(($(grep -oP 'RealMemory=\K\d+' <<< "$hardware") * 95 / 100))

# slurmd wants a device for each card, and is content with another /dev/null
for ((card = 0; card < gpus; card++)); do
    [[ -c $root/dev/gpu$card ]] || mknod "$root/dev/gpu$card" c 1 3
done
mkdir -p "$etc"
cat > "$etc/gres.conf" << CONF
$mark
NodeName=$host Name=gpu File=$root/dev/gpu[0-$((gpus - 1))]
CONF
cat > "$etc/slurm.conf" << CONF
$mark
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
StateSaveLocation=$root/state
SlurmdSpoolDir=$root/spool
SlurmctldPidFile=$root/run/slurmctld.pid
SlurmdPidFile=$root/run/slurmd.pid
SlurmctldLogFile=$root/log/slurmctld.log
SlurmdLogFile=$root/log/slurmd.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
# memory is limited without cgroups: each second, who has too much is killed
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
# what can never run is refused, instead of waiting for ever
EnforcePartLimits=ALL
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=100
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
# seconds for which a job that has ended is still known
MinJobAge=900
KillWait=3
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus $topology RealMemory=$memory Gres=gpu:$gpus State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=1-0 State=UP
CONF

if ! munge_answers > /dev/null 2>&1; then
    install -d -o munge -g munge -m 700 /etc/munge
    [[ -s /etc/munge/munge.key ]] || (umask 077 && head -c 1024 /dev/urandom > /etc/munge/munge.key)
    chown munge:munge /etc/munge/munge.key
    chmod 400 /etc/munge/munge.key
    install -d -o munge -g munge -m 755 /run/munge
    install -d -o munge -g munge -m 711 /var/lib/munge
    chmod 755 "$root" "$root/log"
    install -o munge -g munge -m 600 /dev/null "$root/log/munged.log"
    setpriv --reuid=munge --regid=munge --init-groups munged --log-file="$root/log/munged.log" 9>&- || die "munged"
    wait_for 5 munge_answers || die "munged does not answer"
    cp /run/munge/munged.pid "$root/run/munged.pid"
fi

# -c: without the jobs of an earlier cluster
slurmctld -c < /dev/null >> "$root/log/slurmctld.log" 2>&1 9>&- || die "slurmctld"
slurmd -N "$host" < /dev/null >> "$root/log/slurmd.log" 2>&1 9>&- || die "slurmd"
wait_for 5 runs slurmd || die "slurmd ended"
wait_for 25 is_idle || die "the node is not ready: $(timeout 5 sinfo -h -N -l)"
works || die "srun hostname"
say "up in $SECONDS s: $cpus CPUs, $memory MB, $gpus cards"
