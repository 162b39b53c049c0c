#!/usr/bin/env bash
# Tests and measures HiMo.Kernels on this machine's GPU. Needs a driver of CUDA 12.4 or later, a GPU of sm_80 or later, and nothing else.
#
#   ./run.sh [--out DIR] [STAGE[=SECONDS]...]    these stages, or all; SECONDS replaces a stage's time limit
#   ./run.sh --list                              the stages, their limits, and what they do
#
# A stage that fails or is missing something does not stop the next one. DIR (out, if not given) gets NAME.log for each stage, and the results of
# all as gpu.json and gpu.md; single stages can be run again into the same DIR. The exit code is 1 if a stage failed or ran out of time.
#
#   HIMO_FILTER    which tests: a filter such as FullyQualifiedName~GpuGemmTests
#   HIMO_CASES     which cases of bench and profile: "128,768 1024,768,tf32"
#   HIMO_INF_CL    a folder with Inf-CL's inf_cl/flash.py, to be timed beside the baselines
#   HIMO_LIBTORCH  the folder of a libtorch for CUDA; without it Python's torch is asked
#   HIMO_TEST_LONG 1: the long forms of the tests
set -u
self=$(readlink -f "${BASH_SOURCE[0]}")
here=${self%/*}
missing=77      # the exit code of a stage that this machine cannot run

stages() {
  cat <<'EOF'
machine      60  driver, GPU, and which tools are there
tests       420  the GPU tests of the suite on the device
bench       240  device time of the step, launch by launch and as a replayed graph
profile     120  device time of every kernel
baselines   240  the loss in plain torch operations, and the machine's rates (Python's torch)
torch       240  TorchSharp on Python's libtorch: symbols, then the loss between libtorch's kernels, training and evaluation
training    240  a training step with ours and with plain losses: images per second, the loss's share
train       240  the training command on synthetic scenes, its measures on the GPU and on the processor
memcheck    300  compute-sanitizer: wrong addresses
racecheck   300  compute-sanitizer: races in shared memory
initcheck   300  compute-sanitizer: reads of memory that was never written
synccheck   300  compute-sanitizer: wrong barriers
processor   180  the step on the processor, for comparison
EOF
}

trainer() { "$here/bin/HiMo.Trainer" "$@"; }

run_tests() {     # run_tests FILTER [LAUNCHER...]
  "${@:2}" "$here/bin/HiMo.Kernels.Tests" --no-banner --progress off --no-ansi --output Detailed --minimum-expected-tests 1 --filter "$1"
}

cases() { for each in ${HIMO_CASES:-}; do printf -- '--case\n%s\n' "$each"; done; }

# Fixtures are named by what ends in a dot here; a test's own name does not select it.
gpu_tests="FullyQualifiedName~GpuTests.|FullyQualifiedName~GpuGemmTests.|FullyQualifiedName~GpuWorkspaceTests.|FullyQualifiedName~GpuGoldenTests."

stage_machine() {
  command -v nvidia-smi >/dev/null && nvidia-smi
  trainer doctor --gpu
  local status=$?
  trainer doctor --gpu --json >"$HIMO_OUT/machine.json"
  return $status
}

stage_tests() { run_tests "${HIMO_FILTER:-$gpu_tests|FullyQualifiedName~CudaDeviceTests.}"; }

stage_bench() {
  mapfile -t chosen < <(cases)
  trainer bench gpu --json "${chosen[@]}" >"$HIMO_OUT/bench.json.new" && mv "$HIMO_OUT/bench.json.new" "$HIMO_OUT/bench.json" && cat "$HIMO_OUT/bench.json"
}

stage_profile() { mapfile -t chosen < <(cases); trainer bench gpu --profile "${chosen[@]}"; }

python_torch() {  # the folder of Python's torch, or nothing
  python3 -c 'import torch; print(torch.__path__[0])' 2>/dev/null
}

stage_baselines() {
  [ -n "$(python_torch)" ] || { echo "missing: python3 with torch"; return $missing; }
  python3 "$here/baselines/plain_torch.py" --out "$HIMO_OUT/baselines.json" ${HIMO_INF_CL:+--inf-cl "$HIMO_INF_CL"} >/dev/null
}

python_libtorch() {   # sets HIMO_LIBTORCH, or says what is missing
  if [ -z "${HIMO_LIBTORCH:-}" ]; then
    local python; python=$(python_torch)
    [ -n "$python" ] || { echo "missing: python3 with torch, or HIMO_LIBTORCH"; return $missing; }
    export HIMO_LIBTORCH=$python/lib
    # What Python's torch finds in the packages of NVIDIA beside it.
    LD_LIBRARY_PATH=$(printf '%s:' "${python%/*}"/nvidia/*/lib)${LD_LIBRARY_PATH:-}
    export LD_LIBRARY_PATH
  fi
  [ -e "$HIMO_LIBTORCH/libtorch_cuda.so" ] || { echo "missing: a libtorch for CUDA; $HIMO_LIBTORCH has no libtorch_cuda.so"; return $missing; }
}

stage_torch() {
  python_libtorch || return
  trainer doctor | grep -A1 -w libtorch     # its symbols are compared before it is loaded
  run_tests "FullyQualifiedName~MoLoLossCudaTests.|FullyQualifiedName~TrainingCudaTests."
}

stage_training() {
  python_libtorch || return
  local size
  for size in demo vit-b16; do
    echo "$size, 128 pairs, bf16:"
    trainer bench train-step --device cuda --size "$size" --batch 128 --precision bfloat16 --seconds 8 --json >"$HIMO_OUT/training-$size.json.new" || return
    mv "$HIMO_OUT/training-$size.json.new" "$HIMO_OUT/training-$size.json"
    cat "$HIMO_OUT/training-$size.json"
  done
}

stage_train() {
  python_libtorch || return
  local run=$HIMO_OUT/run device
  rm -rf "$run"
  trainer dataset synthesize --out "$run/data" --count 4000 --seed 2 &&
    trainer train --preset demo-base --data "$run/data" --out "$run/model" --steps 300 --device cuda &&
    tail -n 1 "$run/model/log.jsonl" || return
  for device in cuda cpu; do
    echo "measures on $device:"
    trainer eval --checkpoint "$run/model/model.safetensors" --data "$run/data" --device $device || return
  done
  rm -rf "$run/data"
}

sanitizer() {
  local program
  for program in "$(command -v compute-sanitizer)" /usr/local/cuda/bin/compute-sanitizer /opt/cuda/bin/compute-sanitizer; do
    [ -x "$program" ] || continue
    # A test that asks for too much memory makes the driver refuse: that is no fault of a kernel.
    run_tests "${HIMO_FILTER:-$gpu_tests}" "$program" --tool "$1" --error-exitcode 1 --report-api-errors no --target-processes all
    return
  done
  echo "missing: compute-sanitizer, which comes with the CUDA toolkit"
  return $missing
}

stage_memcheck() { sanitizer memcheck; }
stage_racecheck() { sanitizer racecheck; }
stage_initcheck() { sanitizer initcheck; }
stage_synccheck() { sanitizer synccheck; }

stage_processor() { (cd "$HIMO_OUT" && "$here/bin/HiMo.Kernels.Perf" --filter '*TrainingStepBenchmarks*'); }

if [ "${1:-}" = --inside ]; then "stage_$2"; exit; fi

# --- The call itself --------------------------------------------------------------------------------------------------------------------

usage() { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$self"; }

out=out
chosen=()
while [ $# -gt 0 ]; do
  case $1 in
    --help|-h) usage; exit ;;
    --list) stages; exit ;;
    --out) out=${2:?--out needs a folder}; shift ;;
    *)
      [[ $1 =~ ^[a-z]+(=[1-9][0-9]*)?$ ]] && stages | grep -q "^${1%%=*} " || { echo "run.sh: there is no stage '$1'; ./run.sh --list shows them" >&2; exit 2; }
      chosen+=("$1") ;;
  esac
  shift
done
[ ${#chosen[@]} -gt 0 ] || mapfile -t chosen < <(stages | cut -d' ' -f1)

mkdir -p "$out" || exit
HIMO_OUT=$(cd "$out" && pwd)
export HIMO_OUT HIMO_TEST_GPU=1 HIMO_TEST_DATA=$here/test-data HOME=${HOME:-$HIMO_OUT}
export TESTINGPLATFORM_TELEMETRY_OPTOUT=1 DOTNET_CLI_TELEMETRY_OPTOUT=1
cp "$here/commit" "$HIMO_OUT/commit"

failed=0
for choice in "${chosen[@]}"; do
  name=${choice%%=*}
  limit=$(stages | sed -n "s/^$name  *\([0-9]*\) .*/\1/p")
  [ "$name" = "$choice" ] || limit=${choice#*=}
  start=$(date +%s)
  timeout --kill-after=10 "$limit" bash "$self" --inside "$name" >"$HIMO_OUT/$name.log" 2>&1 </dev/null
  code=$?
  case $code in
    0) status=passed ;;
    "$missing") status=missing ;;
    124|137) status=timeout; failed=1 ;;
    *) status=failed; failed=1 ;;
  esac
  seconds=$(($(date +%s) - start))
  printf '%s\t%s\t%s\t%s\t%s\n' "$name" "$status" "$code" "$seconds" "$limit" >>"$HIMO_OUT/stages.tsv"
  printf '%-10s %-8s %4s s  %s\n' "$name" "$status" "$seconds" "$(grep -v '^ *$' "$HIMO_OUT/$name.log" | tail -n 1 | cut -c1-120)"
done
trainer gpu-report "$HIMO_OUT" || failed=1
exit $failed
