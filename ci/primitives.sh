#!/usr/bin/env bash
# Everything that other threads can see goes through contempo_sched::primitives, so that loom and
# shuttle see it too. The exceptions are named here, each with its reason.
set -euo pipefail
cd "$(dirname "$0")/.."
allowed='^stm-sched/src/primitives.rs:'          # the swap itself
allowed+='|^stm-sched/src/fault.rs:'             # faults are planted for a whole process
allowed+='|^stm-sched/src/checked/explore.rs:'   # a count of the harness's, outside what it explores
allowed+='|^stm-sched/src/statistics.rs:'        # counters stay outside the models
allowed+='|^stm-sched/src/(contention|quantum|settings).rs:' # reports, counts, knobs: nothing is decided by them
allowed+='|^stm-core/src/version.rs:.*(destroyed|atomic::Ordering|atomic::AtomicBool)' # a canary of the models
allowed+='|^stm-alloc/src/barrier.rs:.*(compiler_fence|OnceLock)' # emits no instruction
allowed+='|^stm-alloc/src/(heap|epochs).rs:'     # never waited for; not part of the models
allowed+='|^stm-sched/src/table.rs:.*installed'  # only under the models
allowed+='|^stm-(alloc|core)/src/region/'        # lies in mapped memory, where no checker's atomics can lie
allowed+='|^stm-sched/src/(lease|fork).rs:'             # a page of the kernel's, and words in mapped memory
found=$(grep -rnE 'std::sync::(atomic|Mutex|Condvar|RwLock)|core::sync::atomic' stm-*/src --include='*.rs' \
  | grep -vE "$allowed" | grep -vE '^[^:]+:[0-9]+: *//' || true)
if [ -n "$found" ]; then
  printf 'shared state that goes around contempo_sched::primitives:\n%s\n' "$found"
  exit 1
fi
echo "primitives: nothing goes around them"
