#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
# One run of a grid, as a task of the array job that slurm_sweep.sh submits:
#   slurm_task.sh REPOSITORY PYTHON SWEEP_ID LOGS [OPTIONS OF main.py]
# It may be stopped at any time. SLURM's USR1, sent before the time is up, and a TERM that does not
# come from SLURM's own requeueing save its state and put it back into the queue.
#SBATCH --job-name=sprache
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@180
set -uo pipefail

repository=$1 python=$2 sweep_id=$3 logs=$4
shift 4
task=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
threads=${SLURM_CPUS_PER_TASK:-1}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$threads} NUMBA_NUM_THREADS=${NUMBA_NUM_THREADS:-$threads}

if [[ -z $sweep_id ]]; then
    command=("$python" "$repository/main.py" "$@" --only_point "$SLURM_ARRAY_TASK_ID")
else
    # An agent may get any run; the task notes which, and resumes that one when it is requeued.
    export SPRACHE_FOLDER_NOTE=$logs/task_$task.folder
    if [[ -s $SPRACHE_FOLDER_NOTE ]]; then
        command=("$python" "$repository/main.py" --resume "$(< "$SPRACHE_FOLDER_NOTE")")
    else
        PATH=$(dirname "$python"):$PATH
        command=("$python" -m wandb agent --forward-signals --count 1 "$sweep_id")
    fi
fi

child="" signalled=""
stop() {
    signalled=yes
    [[ -z $child ]] || kill -USR1 "$child" 2> /dev/null
}
trap stop USR1 TERM

echo "task $task on $(hostname), start ${SLURM_RESTART_COUNT:-0}, $(date)"
"${command[@]}" &
child=$!
while :; do
    wait "$child"
    status=$?
    kill -0 "$child" 2> /dev/null || break # else it was a signal that ended the waiting
done

if [[ -n $signalled && ($status -ne 0 || -n $sweep_id) ]]; then
    # A job that SLURM itself is ending (cancelled, preempted, requeued) is left to SLURM.
    state=$(squeue --noheader --job="$task" --format=%T)
    if [[ $state == RUNNING ]]; then
        echo "task $task: state saved, back into the queue"
        scontrol requeue "$task"
    fi
fi
exit "$status"
