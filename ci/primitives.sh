#!/usr/bin/env bash
# Everything that other threads can see goes through contempo_sched::primitives, so that loom and
# shuttle see it too. The exceptions are named here, each with its reason.
set -euo pipefail
cd "$(dirname "$0")/.."
allowed='^stm-sched/src/primitives/swap.rs:'     # the swap itself
allowed+='|^stm-sched/src/primitives/fault.rs:'             # faults are planted for a whole process
allowed+='|^stm-sched/src/primitives/checked/explore.rs:'   # a count of the harness's, outside what it explores
allowed+='|^stm-sched/src/descriptor/statistics.rs:'        # counters stay outside the models
allowed+='|^stm-sched/src/(descriptor/(conflicts|shown)|contention/(report|yielding|settings)).rs:' # reports, counts, knobs: nothing is decided by them
allowed+='|^stm-sched/src/wait/chain.rs:'             # a hint: how many sleepers to wake
allowed+='|^stm-core/src/(layout|protocol/version|local/chain/model).rs:.*(destroyed|atomic::Ordering|atomic::AtomicBool)' # a canary of the models
allowed+='|^stm-alloc/src/reclaim/barrier.rs:.*(compiler_fence|OnceLock)' # emits no instruction
allowed+='|^stm-alloc/src/reclaim/retired.rs:.*KINDS'          # constants, made when they are needed; under the checkers no block is kept
allowed+='|^stm-alloc/src/(heap/cache|reclaim/epochs).rs:'     # never waited for; not part of the models
allowed+='|^stm-sched/src/descriptor/table.rs:.*installed'  # only under the models
allowed+='|^stm-core/src/region/'                # lies in mapped memory, where no checker's atomics can lie
allowed+='|^stm-alloc/src/region/(blocks|error|file|fork|layout|liveness|map|clean_shutdown|superblock)\.rs:' # the same; its words are modelled apart
found=$(grep -rnE 'std::sync::(atomic|Mutex|Condvar|RwLock)|core::sync::atomic' stm-*/src --include='*.rs' \
  | grep -vE "$allowed" | grep -vE '^[^:]+:[0-9]+: *//' || true)
if [ -n "$found" ]; then
  printf 'shared state that goes around contempo_sched::primitives:\n%s\n' "$found"
  exit 1
fi
echo "primitives: nothing goes around them"
