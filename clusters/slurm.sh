#!/bin/bash
# Run an experiment on several nodes of a Slurm cluster. docs/clusters.md explains every part.
#
#   sbatch clusters/slurm.sh EXPERIMENT.yaml STORAGE [further arguments of `raybench run`]
#   sbatch --nodes=4 --gpus-per-node=8 clusters/slurm.sh experiments/imagenet_class.yaml /shared/raybench
#
# STORAGE is a folder that all nodes share, or a URI such as s3://bucket/raybench. Submit from the environment in which
# `raybench` works; all nodes must see it. Before the time limit the run stops in good order and the job is put back into
# the queue, where the same command resumes from the storage. Command-line options of sbatch override these lines:
#SBATCH --job-name=raybench
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=4
#SBATCH --mem=128G
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=raybench-%j.log

set -euo pipefail

if (($# < 2)); then
    echo "usage: sbatch clusters/slurm.sh EXPERIMENT.yaml STORAGE [further arguments of raybench run]" >&2
    exit 2
fi
experiment=$1 storage=$2
shift 2

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head_node=${nodes[0]} # Slurm runs this script on the first node
read -r head_address _ < <(srun --overlap --nodes=1 --ntasks=1 --nodelist="$head_node" hostname --ip-address)
port=$((20000 + SLURM_JOB_ID % 10000)) # another job may share the node

# On the disk of each node, and short: Ray puts sockets there, whose paths may have 107 characters
scratch=${RAYBENCH_SCRATCH:-/tmp}/raybench-$SLURM_JOB_ID

# Other users reach the ports of these nodes, and Ray runs any code that a client sends: only this job has the token
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN

node_arguments=(--block --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}")
steps=() # process ids of the job steps that hold Ray
driver=
stop_for_time_limit=false

# shellcheck disable=SC2329  # called at the end of the script
end_steps() {
    trap '' USR1 TERM
    # By their ids: `ray stop` would end the Ray of other jobs on the node
    for process in $driver "${steps[@]}"; do
        kill -TERM "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
    srun --overlap --nodes="${#nodes[@]}" --ntasks-per-node=1 rm -rf -- "$scratch" || true
}
trap end_steps EXIT
trap 'exit 143' TERM

# shellcheck disable=SC2329  # called at the signal that #SBATCH --signal asks for
before_time_limit() {
    trap '' USR1
    stop_for_time_limit=true
    if [[ -n $driver ]]; then
        kill -TERM "$driver" 2>/dev/null || true # finished work is in the storage; running jobs are not waited for
    fi
}
trap before_time_limit USR1

srun --overlap --nodes=1 --ntasks=1 --nodelist="$head_node" \
    ray start --head --node-ip-address="$head_address" --port="$port" --temp-dir="$scratch" \
    --include-dashboard=false --disable-usage-stats "${node_arguments[@]}" &
steps+=($!)

# The head answers within seconds; a slow shared disk may take minutes to import Ray
for ((second = 0; second < 300; second++)); do
    if (exec 3<>"/dev/tcp/$head_address/$port") 2>/dev/null; then
        break
    fi
    if ! kill -0 "${steps[0]}" 2>/dev/null; then
        echo "slurm.sh: Ray did not start on $head_node; its message is above" >&2
        exit 1
    fi
    sleep 1
done

if ((${#nodes[@]} > 1)); then
    srun --overlap --nodes=$((${#nodes[@]} - 1)) --ntasks-per-node=1 --exclude="$head_node" \
        ray start --address="$head_address:$port" --disable-usage-stats "${node_arguments[@]}" &
    steps+=($!)
fi

code=0
if ! $stop_for_time_limit; then
    raybench run "$experiment" --storage "$storage" --address "$head_address:$port" "$@" &
    driver=$!
    wait "$driver" || code=$?
    if $stop_for_time_limit; then # the signal ended the first wait, not the run
        second=0
        wait "$driver" || second=$?
        ((second == 127)) || code=$second # 127: the run had ended as well
    fi
fi

if $stop_for_time_limit && ((code != 0)); then
    echo "slurm.sh: stopped before the time limit; job $SLURM_JOB_ID is put back into the queue and resumes"
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
