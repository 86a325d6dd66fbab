#!/bin/bash
#SBATCH --job-name=airjax
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=4
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --output=airjax-%j.log

# One process for each GPU. SLURM tells each process its number and the address of the first; JAX reads that.
# Submit with: sbatch slurm.sh. Once requeued or submitted again, it goes on from the last checkpoint.
set -euo pipefail
source "$HOME/airjax/bin/activate" # an environment that all nodes see
srun --kill-on-bad-exit=1 airjax train multi-digits --batch 512 --out "$HOME/runs/digits" --quiet
