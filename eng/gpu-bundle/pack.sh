#!/usr/bin/env bash
# pack.sh DIR: what ./himo gpu-bundle does. Publishes trainer, tests and benchmarks with their own runtime into one folder, adds run.sh, the baselines and
# the small golden cases, and packs all as DIR/himo-gpu.tar.xz.
set -eu
root=$(readlink -f "${BASH_SOURCE[0]}")
root=${root%/eng/*}
. "$root/eng/setup.sh"

most_bytes=60000000
target=$1
golden=${HIMO_TEST_DATA:-$root/../shared}/golden/loss
work=$root/out/gpu-bundle       # ignored by git; kept, so that a second call builds only what changed
stage=$work/himo-gpu

find_dotnet
command -v xz >/dev/null || fail "xz is not installed (Debian: xz-utils)"
mkdir -p "$target" "$work"
exec 9>"$work/lock"
flock 9                         # a second call waits for the first
rm -rf "$stage"
mkdir -p "$stage/baselines" "$stage/test-data/golden/loss"

echo "gpu-bundle: compiling the kernels ahead" >&2
"$dotnet" "$root/src/HiMo.Trainer/bin/Release/net10.0/HiMo.Trainer.dll" precompile 9>&-

for project in src/HiMo.Trainer perf kernels-tests; do
  echo "gpu-bundle: publishing $project" >&2
  "$dotnet" publish "$root/$project" -c Release -p:GpuBundle=true --artifacts-path "$work/build" -o "$stage/bin" -nologo -v quiet >"$work/publish.log" 2>&1 9>&- || {
    cat "$work/publish.log" >&2
    fail "publishing $project failed"
  }
done
# Of use on Windows, to debuggers and to profilers of the processor only.
rm -rf "$stage"/bin/{amd64,libcapstone.so,libmscordbi.so,libmscordaccore.so,libcoreclrtraceptprovider.so,createdump}

cp "$root/eng/gpu-bundle/run.sh" "$root/LICENSE" "$stage"
cp "$root/perf/baselines/"*.py "$stage/baselines"
for name in degenerate n2_d8 n8_d16 n64_d64 n96_d32 n128_d768; do
  if [ -d "$golden/$name" ]; then
    cp -r "$golden/$name" "$stage/test-data/golden/loss"
  else
    echo "gpu-bundle: no golden cases $golden/$name: their tests will be skipped; HIMO_TEST_DATA names the test data" >&2
  fi
done
chmod -R u+w "$stage"
{
  git -C "$root" rev-parse HEAD 2>/dev/null || echo "unknown commit"
  [ -z "$(git -C "$root" status --porcelain 2>/dev/null)" ] || echo "with uncommitted changes"
} >"$stage/commit"

echo "gpu-bundle: packing" >&2
file=$target/himo-gpu.tar.xz
tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner -cf - himo-gpu | xz -T0 -6 >"$file.new"
bytes=$(stat -c %s "$file.new")
if [ "$bytes" -gt $most_bytes ]; then
  rm "$file.new"
  fail "the bundle would have $bytes bytes, more than the $most_bytes that it may have: $(du -ah "$stage" | sort -rh | sed -n '2,8p' | tr '\n\t' '; ')"
fi
mv "$file.new" "$file"
echo "$file: $bytes bytes. On a machine with a GPU: tar -xf himo-gpu.tar.xz && himo-gpu/run.sh"
