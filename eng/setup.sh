# Sourced by ./himo and ./test, which set $root. Finds the .NET SDK and builds; prints nothing unless something fails.

export DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1
export DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1  # the SDK itself needs no libicu then
export MSBUILDDISABLENODEREUSE=1                # no build process stays behind

signature_file=$root/src/HiMo.Trainer/obj/himo.signature

fail() {
  echo "${0##*/}: $1" >&2
  exit 1
}

# Sets $dotnet to the program; its SDK is checked before a build only, because that takes as long as a whole start.
find_dotnet() {
  for dotnet in "$(command -v dotnet || true)" "${DOTNET_ROOT:-}/dotnet" "${HOME:-}/.dotnet/dotnet"; do
    [ ! -x "$dotnet" ] || { export PATH="${dotnet%/*}:$PATH"; return 0; }   # for the tests that start it by name
  done
  fail "the .NET 10 SDK is not installed: https://dotnet.microsoft.com/download/dotnet/10.0 (no root needed: its dotnet-install.sh --channel 10.0 puts it into ~/.dotnet)"
}

# One line that changes whenever a source that ./himo is built from changes, appears or goes.
signature() {
  (cd "$root" && find src models Directory.* global.json .editorconfig \( -name bin -o -name obj \) -prune -o -type f -printf '%p %T@ %s\n' | LC_ALL=C sort | cksum)
}

# Parallel calls wait for each other between lock and unlock.
lock() {
  mkdir -p "${signature_file%/*}"
  exec 9>"${signature_file%/*}/build.lock"
  flock 9
}

unlock() {
  exec 9>&-
}

# build PROJECT [OPTION...], under the lock: restores and builds it in Release form.
build() {
  local log=${signature_file%/*}/build.log wanted
  "$dotnet" --list-sdks | grep -q '^10\.' || fail "$dotnet has no .NET 10 SDK: https://dotnet.microsoft.com/download/dotnet/10.0"
  wanted=$(signature)   # taken before the build, so that a change during it is seen by the next start
  # No descriptor of the lock goes to the build, whose children could outlive it.
  if ! "$dotnet" build "$root/$1" -c Release -v quiet -nologo -p:UseSharedCompilation=false "${@:2}" >"$log" 2>&1 9>&-; then
    # The compiler's messages without the project that each line ends with; anything else that went wrong in full.
    grep -qE '(error|warning) [A-Z]+[0-9]+' "$log" && grep -E '(error|warning) [A-Z]+[0-9]+' "$log" | sed 's/ \[.*\]$//' | sort -u >&2 || cat "$log" >&2
    fail "the build failed; its whole output is in $log"
  fi
  echo "$wanted" >"$signature_file"
}
