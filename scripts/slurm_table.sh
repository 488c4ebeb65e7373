#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
# The table of all runs of a grid, after its array job: slurm_table.sh REPOSITORY PYTHON RUNS
# RUNS is what main.py --list_points printed: number, tab, folder of every run.
#SBATCH --job-name=sprache-table
#SBATCH --cpus-per-task=1
#SBATCH --mem=2G
#SBATCH --time=00:30:00
set -euo pipefail

repository=$1 python=$2 runs=$3
folders=()
while IFS=$'\t' read -r number folder; do
    if [[ -d $folder ]]; then
        folders+=("$folder")
    else
        echo "run $number was never begun: there is no $folder"
    fi
done < "$runs"
[[ ${#folders[@]} -gt 0 ]] || exit 1
PYTHONPATH=$repository${PYTHONPATH:+:$PYTHONPATH} exec "$python" -m training.results "${folders[@]}"
