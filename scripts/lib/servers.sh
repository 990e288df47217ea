# shellcheck shell=bash
# Private servers of one run (dev's or a test run's): Postgres, nats-server, mail sink. All their state lives under $SERVERS:
# data, ports, passwords and the processes that we started. They listen on loopback only.

# use_servers FOLDER
use_servers() {
  SERVERS=$1
  mkdir -p "$SERVERS"
  chmod 711 "$SERVERS"
}

# The port that a server had last time, when it is still free. Kept in a file.
remembered_port() {
  local old=
  if [ -s "$1" ]; then old=$(cat "$1"); fi
  free_port "$old" | tee "$1"
}

# own_port FILE: as above, and none that another server of ours is going to use, though it may not listen yet.
own_port() {
  local port try
  for try in 1 2 3 4 5 6 7 8 9 10; do
    if [ "$try" -gt 1 ]; then rm -f "$1"; fi
    port=$(remembered_port "$1")
    if [ "$(cat "$SERVERS"/*.port "$SERVERS"/*.admin "$SERVERS"/*.route 2>/dev/null | grep -cx "$port")" -le 1 ]; then break; fi
  done
}

# --- Postgres ------------------------------------------------------------------------------------------------------

postgres_pid() { pid_of "$SERVERS/postgres.pid"; }

# as_superuser ARGUMENT...: psql as the superuser, who exists for these scripts only.
as_superuser() {
  env -u PGOPTIONS -u PGSERVICE -u PGSSLMODE -u PGHOSTADDR PGPASSWORD="$(secret "$SERVERS/superuser.secret")" PGCONNECT_TIMEOUT=5 \
    "$POSTGRES_BIN/psql" --no-psqlrc --quiet --set ON_ERROR_STOP=1 --host 127.0.0.1 --port "$(cat "$SERVERS/postgres.port")" \
    --username superuser --dbname postgres "$@"
}

# The one that answers on our port is the one that uses our data.
postgres_is_ours() {
  [ "$(as_superuser -Atc 'SHOW data_directory' 2>/dev/null)" = "$SERVERS/postgres" ]
}

# postgres_start SETTING...: reuses the one that runs. Leaves the roles and the database behind.
postgres_start() {
  local log=$LOGS/${SERVERS##*/}-postgres.log data=$SERVERS/postgres
  find_postgres
  if ! { postgres_pid >/dev/null && postgres_is_ours; }; then
    step "Starting a private Postgres ($("$POSTGRES_BIN/postgres" --version | awk '{ print $3 }'))"
    if [ ! -s "$data/PG_VERSION" ] || [ ! -e "$data/.complete" ]; then postgres_create "$log" "$@"; fi
    postgres_version_fits
    # Tried again with another port, in case somebody was quicker to take this one; and after a pause, in case the last
    # processes of a killed server are still ending.
    postgres_launch "$log" || { sleep 1 && postgres_launch "$log"; } || { sleep 4 && postgres_launch "$log"; } || {
      show_log_end "$log"
      die "the private Postgres did not come up." "see .local/log/${log##*/}; \"./scripts/dev --reset\" forgets its data."
    }
    remember "$SERVERS/postgres.pid" "$(head -n 1 "$data/postmaster.pid")" || true
    postgres_is_ours || die "another Postgres answers on the port of the private one." "try again."
  fi
  postgres_roles
}

postgres_launch() {
  own_port "$SERVERS/postgres.port"
  (cd / && trap '' HUP && ${AS_SERVER[@]+"${AS_SERVER[@]}"} "$POSTGRES_BIN/pg_ctl" start --silent --wait --timeout 120 \
    -D "$SERVERS/postgres" -o "-p $(cat "$SERVERS/postgres.port")" </dev/null >>"$1" 2>&1)
}

postgres_create() {
  local log=$1 data=$SERVERS/postgres setting
  shift
  rm -rf "$data"
  server_folder "$data"
  # initdb reads the password as the server account, and that account cannot look into this folder's secrets.
  (umask 077 && secret "$SERVERS/superuser.secret" >"$SERVERS/initdb.secret")
  if [ -n "$SERVER_USER" ]; then chown "$SERVER_USER:" "$SERVERS/initdb.secret"; fi
  as_server "$POSTGRES_BIN/initdb" -D "$data" --username superuser --pwfile "$SERVERS/initdb.secret" --auth scram-sha-256 \
    --encoding UTF8 --locale C --no-instructions </dev/null >>"$log" 2>&1 || {
    rm -f "$SERVERS/initdb.secret"
    show_log_end "$log"
    die "the private Postgres could not be set up." "see .local/log/${log##*/}."
  }
  rm -f "$SERVERS/initdb.secret"
  {
    echo "listen_addresses = '127.0.0.1'"
    echo "unix_socket_directories = ''"
    echo "max_connections = 300"
    # Parameters and the rows of refused inserts are personal data.
    echo "log_error_verbosity = terse"
    echo "log_parameter_max_length = 0"
    echo "log_parameter_max_length_on_error = 0"
    echo "shared_buffers = 128MB"
    echo "idle_in_transaction_session_timeout = '10s'"
    echo "timezone = 'UTC'"
    echo "log_timezone = 'UTC'"
    echo "log_line_prefix = '%m [%p] %u@%d '"
    for setting in "$@"; do echo "$setting"; done
  } >>"$data/postgresql.conf"
  touch "$data/.complete"
}

postgres_version_fits() {
  local wanted have
  wanted=$(cat "$SERVERS/postgres/PG_VERSION")
  have=$("$POSTGRES_BIN/postgres" --version | awk '{ print int($3) }')
  if [ "$wanted" != "$have" ]; then
    die "the private Postgres has data of version $wanted, but the server found here is version $have." \
      "\"./scripts/dev --reset\" forgets the data; or put version $wanted first in PATH."
  fi
}

# The roles and the database; the same file serves compose.yaml.
postgres_roles() {
  OWNER_PASSWORD=$(secret "$SERVERS/owner.secret")
  APP_PASSWORD=$(secret "$SERVERS/app.secret")
  APPTREMIND_OWNER_PASSWORD=$OWNER_PASSWORD APPTREMIND_APP_PASSWORD=$APP_PASSWORD \
    as_superuser --file "$ROOT/deploy/postgres-roles.sql" >/dev/null ||
    die "the roles of the database could not be created." "\"./scripts/dev --reset\" forgets the data and starts anew."
}

# postgres_url ROLE PASSWORD DATABASE
postgres_url() { echo "postgres://$1:$2@127.0.0.1:$(cat "$SERVERS/postgres.port")/$3"; }

postgres_stop() {
  local pid
  if pid=$(postgres_pid); then
    # INT: ends sessions, leaves clean data. QUIT when that takes too long: the next start recovers.
    kill -INT "$pid" 2>/dev/null || true
    wait_for 30 postgres_is_gone || { kill -QUIT "$pid" 2>/dev/null || true; wait_for 10 postgres_is_gone || true; }
  fi
  rm -f "$SERVERS/postgres.pid"
}
postgres_is_gone() { ! postgres_pid >/dev/null; }

# --- NATS ----------------------------------------------------------------------------------------------------------

# nats_greets PORT NAME: a nats-server greets with its name, and ours have names of their own.
nats_greets() {
  local greeting
  greeting=$( (exec 3<>"/dev/tcp/127.0.0.1/$1" && IFS= read -r -t 3 greeting <&3 && echo "$greeting") 2>/dev/null) || return 1
  case $greeting in *"\"$2\""*) return 0 ;; *) return 1 ;; esac
}

nats_runs() {
  pid_of "$SERVERS/nats.pid" >/dev/null && nats_greets "$(cat "$SERVERS/nats.port")" "apptremind-$(cat "$SERVERS/nats.name")"
}

nats_start() {
  local log=$LOGS/${SERVERS##*/}-nats.log try
  find_nats
  if nats_runs; then return; fi
  step "Starting a private nats-server ($("$NATS_SERVER" --version | awk '{ print $2 }'))"
  server_folder "$SERVERS/nats"
  secret "$SERVERS/nats.name" >/dev/null
  for try in 1 2 3; do
    stop "$SERVERS/nats.pid" 10
    own_port "$SERVERS/nats.port"
    cat >"$SERVERS/nats.conf" <<CONF
server_name: "apptremind-$(cat "$SERVERS/nats.name")"
listen: "127.0.0.1:$(cat "$SERVERS/nats.port")"
jetstream {
  store_dir: "$SERVERS/nats"
  max_memory_store: 268435456
  max_file_store: 4294967296
}
CONF
    chmod 644 "$SERVERS/nats.conf"
    launch "$SERVERS/nats.pid" "$log" ${AS_SERVER[@]+"${AS_SERVER[@]}"} "$NATS_SERVER" --config "$SERVERS/nats.conf"
    if wait_for 15 nats_runs; then return; fi
    say "nats-server is not up yet (try $try of 3)"
  done
  show_log_end "$log"
  die "the private nats-server did not come up." "see .local/log/${log##*/}."
}

# --- Mail sink -----------------------------------------------------------------------------------------------------

# Sets SINK_SMTP_PORT and SINK_HTTP_PORT once it listens on both.
sink_runs() {
  pid_of "$SERVERS/mail.pid" >/dev/null && [ -s "$SERVERS/mail/ports.json" ] || return 1
  SINK_SMTP_PORT=$(sed -E 's/.*"smtp": ([0-9]+).*/\1/' "$SERVERS/mail/ports.json")
  SINK_HTTP_PORT=$(sed -E 's/.*"http": ([0-9]+).*/\1/' "$SERVERS/mail/ports.json")
  port_open "$SINK_SMTP_PORT" && port_open "$SINK_HTTP_PORT"
}

sink_start() {
  local log=$LOGS/${SERVERS##*/}-mail.log
  # shellcheck disable=SC2086
  wheels $SINK_WHEELS
  if sink_runs; then return; fi
  step "Starting a mail inbox"
  stop "$SERVERS/mail.pid" 5
  mkdir -p "$SERVERS/mail"
  chmod 700 "$SERVERS/mail"
  rm -f "$SERVERS/mail/ports.json"
  own_port "$SERVERS/smtp.port"
  own_port "$SERVERS/inbox.port"
  launch "$SERVERS/mail.pid" "$log" "$VENV_PYTHON" "$ROOT/scripts/mailsink.py" --dir "$SERVERS/mail" \
    --smtp-port "$(cat "$SERVERS/smtp.port")" --http-port "$(cat "$SERVERS/inbox.port")"
  if wait_for 20 sink_runs; then return; fi
  show_log_end "$log"
  die "the mail inbox did not come up." "see .local/log/${log##*/}."
}

# servers_stop: everything that was started under $SERVERS.
servers_stop() {
  stop "$SERVERS/mail.pid" 5
  stop "$SERVERS/nats.pid" 10
  postgres_stop
}
