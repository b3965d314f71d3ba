# Functions shared by the scripts in this directory. Source this file; do not run it.
# shellcheck shell=bash disable=SC2034 # the variables are used by the scripts that source this file

root=$(dirname -- "$(dirname -- "$(realpath -- "${BASH_SOURCE[0]}")")")
program=$(basename -- "$0")

say() { printf '%s: %s\n' "$program" "$*" >&2; }

# fail STATUS WHAT REMEDY
fail() {
  printf '%s: error: %s; %s\n' "$program" "$2" "$3" >&2
  exit "$1"
}

# quietly COMMAND...: shows the output of the command only if the command fails.
quietly() {
  local output status=0
  output=$("$@" 2>&1 < /dev/null) || status=$?
  [[ $status -eq 0 ]] || printf '%s\n' "$output" >&2
  return "$status"
}

# read_arguments ARGUMENT...: sets bootstrap_options, help (yes or no) and arguments (the rest).
read_arguments() {
  bootstrap_options=() arguments=() help=no
  local argument
  for argument in "$@"; do
    case $argument in
      --no-install) bootstrap_options=(--no-install) ;;
      *) arguments+=("$argument") ;;
    esac
    case $argument in -h | --help) help=yes ;; esac
  done
}

# debian_mirror: prints the address of the machine's mirror of Debian.
debian_mirror() {
  # shellcheck disable=SC2016 # fields of apt-get, not variables
  apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' |
    awk '$1 == "Debian" { print $2; exit }' | grep . ||
    fail 1 "apt: expected a package source of Debian, found none" "run: apt-get update"
}

# make_debian RELEASE DESTINATION: makes a minimal Debian system, as a directory or a tar file. Needs root and
# mmdebstrap.
make_debian() {
  local mirror options=() sources
  mirror=$(debian_mirror)
  sources=("deb $mirror $1 main")
  if [[ $1 == sid ]]; then
    options=(--aptopt='Acquire::Check-Valid-Until "false"') # a mirror's copy can be older than a week
  else
    sources+=("deb $mirror $1-updates main")
  fi
  quietly mmdebstrap --variant=minbase --mode=root "${options[@]}" "$1" "$2" "${sources[@]}" ||
    fail 1 "Debian $1 could not be installed in $2" "see the output of mmdebstrap above"
}

# cannot_run WHY: ends a check that needs a chroot or a container where there can be none.
cannot_run() {
  say "not possible here: $1"
  exit 77
}

# require_chroot: ends the check unless chroots can be made.
require_chroot() {
  [[ $EUID -eq 0 ]] || cannot_run "expected root, found user $EUID"
  unshare --mount --pid --fork true 2> /dev/null || cannot_run "no namespaces can be made"
}

# inside CHROOT DIRECTORY COMMAND ARGUMENT...: runs a command in the chroot, in this directory.
inside() {
  # shellcheck disable=SC2016 # for the shell in the namespace
  unshare --mount --pid --fork --kill-child --mount-proc="$1/proc" sh -c '
    chroot=$0 directory=$1
    shift
    mount --rbind /dev "$chroot/dev" && mount --rbind /sys "$chroot/sys" && exec chroot "$chroot" \
      env -i -C "$directory" PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
      DEBIAN_FRONTEND=noninteractive "$@"' "$@" < /dev/null
}

# find_python_torch: sets python, an interpreter with torch.
find_python_torch() {
  for python in python3 /usr/bin/python3; do
    ! "$python" -c 'import torch' 2> /dev/null || return 0
  done
  fail 1 "Python's torch is not installed" "on Debian: sudo apt-get install python3-torch"
}

# parallel_jobs: one per processor, limited by memory (up to 1.5 GB per job).
parallel_jobs() {
  local processors by_memory
  processors=$(nproc)
  by_memory=$(awk '$1 == "MemAvailable:" { print int($2 / 1500000) }' /proc/meminfo)
  printf '%s\n' "$((by_memory < 1 ? 1 : by_memory < processors ? by_memory : processors))"
}

# build PRESET [TARGET...]: builds the targets (default: all). Writes to standard error, because standard
# output belongs to the program. Ninja's progress is shown for the first build and in a terminal.
build() {
  local preset=$1 directory=$root/build/$1 ninja_options=(--quiet)
  shift
  if [[ -e $directory && ! -w $directory ]]; then
    fail 1 "$directory: expected a writable directory, found one of another user" "run: sudo rm -r $directory"
  fi
  if [[ ! -e $directory/build.ninja ]]; then
    say "building in $directory; the first build takes several minutes"
    ninja_options=()
    quietly cmake -S "$root" --preset "$preset" ||
      fail 1 "CMake could not configure the build" "see its output above"
  fi
  [[ ! -t 2 ]] || ninja_options=()
  cmake --build "$directory" --parallel "$(parallel_jobs)" ${1:+--target "$@"} -- "${ninja_options[@]}" >&2 ||
    fail 1 "the build failed" "see the compiler's output above"
}
