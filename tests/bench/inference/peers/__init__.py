"""One file for each server that ours is compared with; they run in environments of their own (scripts/bench_env.sh)."""
