#!/usr/bin/env bash
# Prints the path of NVIDIA's assembler ptxas 12.4, fetching it into the user's cache folder when it is not there: unpacked from
# Debian 13's package nvidia-cuda-toolkit, from the mirror that this machine's apt uses. Nothing is installed, no root is needed.
#   eng/ptxas.sh --cached    fails instead of fetching
set -eu
cache=${XDG_CACHE_HOME:-$HOME/.cache}/himo/ptxas
if [ ! -x "$cache/ptxas" ]; then
  [ "${1:-}" != --cached ] || exit 1
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | grep -m1 -E '/debian/?$')
  mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/empty" "$cache"
  printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s trixie non-free\n' "$mirror" > "$work/sources.list"
  apt() {
    apt-get -qq -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts="$work/empty" -o Dir::State::lists="$work/lists" \
      -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root "$@"
  }
  { apt update && cd "$work" && apt download nvidia-cuda-toolkit; } >&2
  dpkg-deb --fsys-tarfile "$work"/nvidia-cuda-toolkit_*.deb | tar -xf - -C "$work" --wildcards '*/bin/ptxas'
  mv "$(find "$work/usr" -name ptxas -type f | head -1)" "$cache/ptxas.$$"
  chmod +x "$cache/ptxas.$$"
  mv "$cache/ptxas.$$" "$cache/ptxas"
fi
printf '%s\n' "$cache/ptxas"
