# What the commands of this folder share. It is sourced, never run.
# shellcheck shell=bash disable=SC2034 # the variables are for who sources it

root=$(dirname -- "$(dirname -- "$(realpath -- "${BASH_SOURCE[0]}")")")
program=$(basename -- "$0")

say() { printf '%s: %s\n' "$program" "$*" >&2; }

# fail STATUS WHAT REMEDY
fail() {
  printf '%s: error: %s; %s\n' "$program" "$2" "$3" >&2
  exit "$1"
}

# quietly COMMAND...: shows what the command says only if it fails.
quietly() {
  local output status=0
  output=$("$@" 2>&1 < /dev/null) || status=$?
  [[ $status -eq 0 ]] || printf '%s\n' "$output" >&2
  return "$status"
}

# read_arguments ARGUMENT...: sets bootstrap_options, help (yes or no) and arguments, which is all but --no-install.
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

# parallel_jobs: one for each processor, but each takes up to 1.5 GB of memory.
parallel_jobs() {
  local processors by_memory
  processors=$(nproc)
  by_memory=$(awk '$1 == "MemAvailable:" { print int($2 / 1500000) }' /proc/meminfo)
  printf '%s\n' "$((by_memory < 1 ? 1 : by_memory < processors ? by_memory : processors))"
}

# build PRESET [TARGET...]: without a target, all. It writes to standard error, so that standard output is the
# program's own. Ninja's progress is shown the first time, and in a terminal.
build() {
  local preset=$1 folder=$root/build/$1 ninja_options=(--quiet)
  shift
  if [[ -e $folder && ! -w $folder ]]; then
    fail 1 "$folder: expected a folder of your own, found one of another user" "run: sudo rm -r $folder"
  fi
  if [[ ! -e $folder/build.ninja ]]; then
    say "building in $folder, which takes some minutes the first time"
    ninja_options=()
    quietly cmake -S "$root" --preset "$preset" || fail 1 "CMake could not configure the build" "see its words above"
  fi
  [[ ! -t 2 ]] || ninja_options=()
  cmake --build "$folder" --parallel "$(parallel_jobs)" ${1:+--target "$@"} -- "${ninja_options[@]}" >&2 ||
    fail 1 "the build failed" "see the compiler's words above"
}
