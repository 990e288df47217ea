# shellcheck shell=bash
# Shared by scripts/dev, scripts/test and .ci/run: messages, checks, processes that we started, and the folders they live in.
# Works with bash 3.2 (macOS) as well.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
LOCAL=$ROOT/.local
LOGS=$LOCAL/log
# shellcheck disable=SC2034 # read by install.sh
VENV=$LOCAL/venv

say() { printf '%s\n' "$*" >&2; }
step() { printf '==> %s\n' "$*" >&2; }

# die SENTENCE [NEXT STEP]: one clear sentence, then what to do about it.
die() {
  printf 'error: %s\n' "$1" >&2
  if [ $# -gt 1 ]; then printf ' next: %s\n' "$2" >&2; fi
  exit 1
}

# What a server said last, for the sentence that says that it did not come up.
show_log_end() {
  if [ -s "$1" ]; then
    say "--- last lines of ${1#"$ROOT"/}"
    tail -n 15 "$1" >&2
    say "---"
  fi
}

have() { command -v "$1" >/dev/null 2>&1; }

# need_disk FOLDER: the first build takes 7 GB, where it goes; running takes 1 GB.
need_disk() {
  local free needed=1
  if [ "$1" = "$ROOT" ] && [ ! -e "${CARGO_TARGET_DIR:-$ROOT/target}/debug/apptremind" ]; then needed=7; fi
  free=$(df -Pk "$1" | awk 'NR == 2 { print $4 }')
  if [ "${free:-0}" -lt $((needed * 1048576)) ]; then
    die "the disk that holds $1 has only $((${free:-0} / 1024)) MB free; this takes $needed GB." \
      "make room (\"cargo clean\" and \"./scripts/dev --reset\" free what this clone uses), then try again."
  fi
}

port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free_port [WISHED]: the wished port when nobody listens there, else a random one. Below the range that outgoing connections use.
free_port() {
  local port=${1:-} try
  for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    if [ -z "$port" ] || [ "$try" -gt 1 ]; then port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000)); fi
    if ! port_open "$port"; then
      echo "$port"
      return
    fi
  done
  die "no free port was found between 20000 and 32000." "stop some of the servers on this machine, then try again."
}

random_word() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }

# secret FILE: a random password, made once and readable by its owner only.
secret() {
  if [ ! -s "$1" ]; then (umask 077 && random_word >"$1"); fi
  cat "$1"
}

# --- Processes that we started -------------------------------------------------------------------------------------
# A process is remembered as its id and the moment it started, so that an id which was given to another program meanwhile
# is never taken for ours.

process_stamp() {
  local stat
  if [ -r /proc/self/stat ]; then
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    # After the name in brackets: state is the first word, the start time the twentieth.
    # shellcheck disable=SC2086
    set -- ${stat##*) }
    if [ "$1" = Z ]; then return 1; fi
    echo "${20}@$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)"
  else
    stat=$(ps -o stat= -o lstart= -p "$1" 2>/dev/null) || return 1
    case $stat in '' | Z*) return 1 ;; esac
    echo "$stat" | awk '{ print $2 "-" $3 "-" $4 "-" $5 "-" $6 }'
  fi
}

# remember FILE PID
remember() {
  local stamp
  stamp=$(process_stamp "$2") || return 1
  echo "$2 $stamp" >"$1"
}

# pid_of FILE: prints the id when that very process is still alive.
pid_of() {
  local pid stamp
  { read -r pid stamp <"$1"; } 2>/dev/null || return 1
  if [ -n "$pid" ] && [ "$(process_stamp "$pid" || true)" = "$stamp" ]; then echo "$pid"; else return 1; fi
}

# launch FILE LOG COMMAND...: starts a server in a process group of its own (so that Ctrl-C reaches only the script) and remembers it.
launch() {
  local file=$1 log=$2 pid
  shift 2
  rm -f "$file"
  pid=$(
    set -m
    trap '' HUP
    cd /
    "$@" </dev/null >>"$log" 2>&1 &
    echo $!
  )
  remember "$file" "$pid" || true
}

# stop FILE SECONDS: ends the process that FILE remembers; asks first.
stop() {
  local pid waited=0
  if pid=$(pid_of "$1"); then
    kill -TERM "$pid" 2>/dev/null || true
    while pid_of "$1" >/dev/null; do
      waited=$((waited + 1))
      if [ "$waited" -gt $(($2 * 10)) ]; then
        kill -KILL "$pid" 2>/dev/null || true
        sleep 0.2
        break
      fi
      sleep 0.1
    done
  fi
  rm -f "$1"
}

# processes_of FOLDER: the ids of processes whose command line names a path in this folder.
processes_of() {
  local file
  if [ -r /proc/self/cmdline ]; then
    for file in /proc/[0-9]*/cmdline; do
      if [ "$file" != "/proc/$$/cmdline" ] && tr '\0' ' ' 2>/dev/null <"$file" | grep -qF -- "$1/"; then basename "$(dirname "$file")"; fi
    done
  else
    ps -A -o pid= -o args= | awk -v folder="$1/" 'index($0, folder) && !/awk -v folder/ { print $1 }'
  fi
}

# wait_for SECONDS COMMAND...: until the command succeeds.
wait_for() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    if [ "$SECONDS" -ge "$end" ]; then return 1; fi
    sleep 0.2
  done
}

# --- Folders and the account that servers run as -------------------------------------------------------------------

# As root, servers run as an unprivileged user, with their data where that user can reach it even when this clone is private.
# Sets SERVER_USER (empty unless root) and BASE (the folder for the servers' data).
prepare_folders() {
  SERVER_USER=
  AS_SERVER=()
  mkdir -p "$LOGS"
  BASE=$LOCAL/servers
  mkdir -p "$BASE"
  if [ "$(id -u)" -ne 0 ]; then return; fi

  BASE=/var/tmp/apptremind-$(printf '%s' "$ROOT" | cksum | tr ' ' '-')
  mkdir -p "$BASE"
  if [ -L "$BASE" ] || [ ! -O "$BASE" ]; then
    die "$BASE belongs to somebody else." "remove it, or move this clone to another folder."
  fi
  chmod 711 "$BASE"

  # The choice is kept, because the data belongs to that user.
  SERVER_USER=$(cat "$BASE/user" 2>/dev/null || true)
  if [ -z "$SERVER_USER" ]; then
    if id postgres >/dev/null 2>&1; then SERVER_USER=postgres; else SERVER_USER=nobody; fi
    echo "$SERVER_USER" >"$BASE/user"
  fi
  have setpriv || die "servers must not run as root, and the command 'setpriv' that changes the user is missing." \
    "install util-linux, or run this as an ordinary user."
  AS_SERVER=(env -u HOME -u LOGNAME -u USER setpriv "--reuid=$(id -u "$SERVER_USER")" "--regid=$(id -g "$SERVER_USER")" --init-groups)
}

# as_server COMMAND...: runs a command as the account that servers run as.
as_server() { (cd / && exec ${AS_SERVER[@]+"${AS_SERVER[@]}"} "$@"); }

# server_folder FOLDER: a folder that this account alone can use.
server_folder() {
  mkdir -p "$1"
  chmod 700 "$1"
  if [ -n "$SERVER_USER" ]; then chown "$SERVER_USER:" "$1"; fi
}
