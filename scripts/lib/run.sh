# shellcheck shell=bash
# A run with servers of its own that is over when the script ends: scripts/test and scripts/bench. Needs common, install, servers.

# end_run FOLDER: stops the servers of a run, also those that it started itself, and removes the folder.
end_run() {
  local pid
  use_servers "$1"
  servers_stop
  # Servers are started below scratch/, a folder whose name nobody else uses. Those that outlived their user are found by it.
  for pid in $(processes_of "$1/scratch"); do
    kill -KILL "$pid" 2>/dev/null || true
  done
  rm -rf "$1"
}

# begin_run KIND SETTING...: starts Postgres with these settings and tells cargo's programs where servers are. Sets RUN.
begin_run() {
  local kind=$1 folder limit
  shift
  # shellcheck disable=SC2086
  wheels $SINK_WHEELS
  find_nats
  find_postgres

  # What a run left behind that was killed.
  for folder in "$BASE/$kind"-*; do
    if [ -d "$folder" ] && ! pid_of "$folder/run.pid" >/dev/null; then end_run "$folder"; fi
  done

  RUN=$BASE/$kind-$$-$RANDOM
  use_servers "$RUN"
  remember "$RUN/run.pid" $$
  trap run_ended EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP

  # All roles share one password, so that any of them can sign in.
  secret "$RUN/superuser.secret" >"$RUN/owner.secret"
  cp "$RUN/owner.secret" "$RUN/app.secret"
  chmod 600 "$RUN"/*.secret
  postgres_start "$@"
  server_folder "$RUN/scratch"

  APPTREMIND_TEST_DATABASE_URL=$(postgres_url superuser "$(secret "$RUN/superuser.secret")" postgres)
  export APPTREMIND_TEST_DATABASE_URL
  export APPTREMIND_TEST_NATS_SERVER=$NATS_SERVER
  export APPTREMIND_TEST_PYTHON=$VENV_PYTHON
  export APPTREMIND_TEST_POSTGRES_BIN=$POSTGRES_BIN
  export APPTREMIND_TEST_RUNAS=$SERVER_USER
  export APPTREMIND_TEST_DIR=$RUN/scratch
  # Servers that the shell names are not for such a run.
  unset APPTREMIND_DATABASE_URL APPTREMIND_MIGRATE_DATABASE_URL APPTREMIND_NATS_URL APPTREMIND_SMTP_URL APPTREMIND_HTTP_PORT APPTREMIND_PUBLIC_URL

  # Races open thousands of connections.
  limit=$(ulimit -Hn)
  case $limit in unlimited) limit=65536 ;; esac
  ulimit -Sn "$limit" 2>/dev/null || true
}

# shellcheck disable=SC2317 # called by the trap
run_ended() {
  local code=$?
  trap '' INT TERM HUP
  end_run "$RUN"
  exit "$code"
}
