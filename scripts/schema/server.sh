# shellcheck shell=bash
# A server under test for scripts/schema/run, beside the servers of a run. Needs common, install, servers, run and app.

# Tries the API document out on a server of this run's own, and looks at what that left behind.
schema_test() {
  local log=$LOGS/schema-serve.log url command
  app_build
  nats_start
  sink_start
  export APPTREMIND_HTTP_PORT=0
  app_port
  url=http://127.0.0.1:$APPTREMIND_HTTP_PORT
  # Under a name in this folder end_run finds it, however this script ends.
  ln -sf "$BINARY" "$RUN/scratch/apptremind"
  # Without limits, and guests may book for ever.
  command=(
    env APPTREMIND_DATABASE_URL="$(postgres_url apptremind "$APP_PASSWORD" apptremind)"
    APPTREMIND_MIGRATE_DATABASE_URL="$(postgres_url apptremind_owner "$OWNER_PASSWORD" apptremind)"
    APPTREMIND_NATS_URL="nats://127.0.0.1:$(cat "$SERVERS/nats.port")"
    APPTREMIND_SMTP_URL="smtp://127.0.0.1:$SINK_SMTP_PORT"
    APPTREMIND_MAIL_FROM="ApptRemind <reminders@apptremind.example>"
    APPTREMIND_HTTP_HOST=127.0.0.1
    APPTREMIND_PUBLIC_URL="$url"
    APPTREMIND_SIGNING_KEY_FILE="$RUN/signing-key.pem"
    APPTREMIND_LIMITS=off
    APPTREMIND_FREE_MONTHLY_CAP=1000000
    APPTREMIND_LOG=warn
    "$RUN/scratch/apptremind"
  )

  step "Starting a server for the API document"
  "${command[@]}" migrate >"$LOGS/schema-migrate.log" 2>&1 || {
    show_log_end "$LOGS/schema-migrate.log"
    die "the database could not be migrated." "see .local/log/schema-migrate.log."
  }
  : >"$log"
  launch "$SERVERS/serve.pid" "$log" "${command[@]}" serve
  # shellcheck disable=SC2034 # read by app.sh
  APP_URL=$url
  if ! wait_for 60 serve_answers_or_ended || ! pid_of "$SERVERS/serve.pid" >/dev/null; then
    show_log_end "$log"
    die "the server did not get ready." "see .local/log/schema-serve.log."
  fi

  BASE_URL=$url INBOX_URL=http://127.0.0.1:$SINK_HTTP_PORT "$ROOT/scripts/schema/run" 2>&1 | tee "$LOGS/schema.log" ||
    die "the API and its document do not agree." "see .local/log/schema.log, and what the server says in .local/log/schema-serve.log."
  step "What that left behind: apptremind doctor"
  "${command[@]}" doctor ||
    die "a promise does not hold after all those requests." "see what the server says in .local/log/schema-serve.log."
  stop "$SERVERS/serve.pid" 20
  if grep -m 5 ERROR "$log" >&2; then die "the server had errors." "see .local/log/schema-serve.log."; fi
}
