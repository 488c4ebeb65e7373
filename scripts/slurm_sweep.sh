#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
# Runs a grid or a search on a SLURM cluster: an array job with one task per run or trial, and a
# table at the end.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: scripts/slurm_sweep.sh [SBATCH OPTIONS] [--wandb SWEEP_ID] CONFIG [OPTIONS OF main.py]

Every run of the grid, or trial of a search, becomes a task of an array job. A task that is
preempted, requeued or out of time saves its state, returns to the queue and resumes. A last job
prints the table of all runs, and draws the pictures of a search.

  scripts/slurm_sweep.sh ssc_silif_4ms.yaml
  scripts/slurm_sweep.sh --partition=gpu --time=8:00:00 ssc_silif_4ms.yaml --lr 0.01 0.005
  scripts/slurm_sweep.sh --gres=none --cpus-per-task=4 demo.yaml           # without GPUs
  scripts/slurm_sweep.sh --array=1-30%4 search_silif.yaml    # a search, four trials at a time
  scripts/slurm_sweep.sh --wandb entity/project/id ssc_silif_4ms.yaml      # agents of a wandb sweep

SBATCH OPTIONS stand before CONFIG in the form --name=value and override those in
scripts/slurm_task.sh (1 GPU, 8 CPUs, 32 GB, 24 hours). With --wandb every task is an agent that
takes one run of the sweep; CONFIG and the options are those that the sweep was made with.
The tasks run $PYTHON, by default python; logs go to $LOGS, by default slurm_logs/.
TEXT
}

fail() {
    echo "slurm_sweep.sh: error: $1" >&2
    exit 2
}

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
options=()        # for the tasks
place=()          # those of them that the last job needs too
sweep_id=""
while [[ $# -gt 0 && $1 == -* ]]; do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --wandb=*) sweep_id=${1#--wandb=} ;;
        --wandb) sweep_id=${2:-}; shift ;;
        --partition=* | --account=* | --qos=* | -p?* | -A?* | -q?*)
            options+=("$1"); place+=("$1") ;;
        --partition | --account | --qos | -[pAq] | --time | --gres | --mem | --cpus-per-task | -[tcJCxw])
            fail "write sbatch options in one word, such as --partition=gpu or -pgpu; got $1" ;;
        *) options+=("$1") ;;
    esac
    shift || fail "--wandb needs the id of a sweep"
done
[[ $# -gt 0 ]] || { usage >&2; exit 2; }
arguments=("--config=$1" "${@:2}")
[[ " ${*:2}" == *" --resume"* ]] || arguments+=(--resume auto)

command -v sbatch > /dev/null || fail "there is no sbatch here; run this where SLURM takes jobs"
python=$(command -v "${PYTHON:-python}") || fail "there is no ${PYTHON:-python}; set PYTHON"
[[ -z $sweep_id || $PWD -ef $repository ]] ||
    fail "wandb agents start main.py where they are: cd $repository first"
mkdir -p "${LOGS:-slurm_logs}"
logs=$(cd "${LOGS:-slurm_logs}" && pwd)
runs=$(mktemp "$logs/runs_XXXXXX.txt")
if ! "$python" "$repository/main.py" "${arguments[@]}" --list_points > "$runs"; then
    rm "$runs"
    exit 2
fi

array=$(sbatch --parsable --array="1-$(wc -l < "$runs")" --output="$logs/%x_%A_%a.log" \
    ${options[@]+"${options[@]}"} "$repository/scripts/slurm_task.sh" \
    "$repository" "$python" "$sweep_id" "$logs" "${arguments[@]}")
array=${array%%;*}
echo "array job $array: $(wc -l < "$runs") runs, logs in $logs"
table=$(sbatch --parsable --dependency="afterany:$array" --output="$logs/%x_%j.log" \
    --job-name=sprache-table --cpus-per-task=1 --mem=2G --time=00:30:00 \
    ${place[@]+"${place[@]}"} /dev/stdin "$repository" "$python" "$runs" <<'TEXT'
#!/usr/bin/env bash
export PYTHONPATH=$1${PYTHONPATH:+:$PYTHONPATH}
folders=()
while IFS=$'\t' read -r number folder; do
    if [[ -d $folder ]]; then
        folders+=("$folder")
    else
        echo "run $number was never begun: there is no $folder"
    fi
done < "$3"
[[ ${#folders[@]} -gt 0 ]] || exit 1
search=$(dirname "${folders[0]}")
[[ -f $search/search.yaml ]] && exec "$2" -m analysis.search "$search"
exec "$2" -m training.results "${folders[@]}"
TEXT
) || {
    echo "slurm_sweep.sh: the job for the table was refused; the array job $array runs anyway" >&2
    exit 1
}
table=${table%%;*}
echo "then job $table prints the table to $logs/sprache-table_$table.log"
