# shellcheck shell=bash
# Builds and runs the binary `apptremind` for scripts/dev and scripts/cluster (RUN_NAME). What it found out is kept in
# .local/dev/env, for the smoke scripts too.

APP_FOLDER=$LOCAL/$RUN_NAME
ENV_FILE=$APP_FOLDER/env

# http_status URL: 000 when nobody answers.
http_status() {
  "$PYTHON" - "$1" <<'PY'
import sys, urllib.error, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
try:
    print(opener.open(sys.argv[1], timeout=3).status)
except urllib.error.HTTPError as answer:
    print(answer.code)
except Exception:
    print("000")
PY
}

# recorded NAME: a setting of the run that was started last.
recorded() { sed -n "s/^$1=//p" "$ENV_FILE" 2>/dev/null; }

app_is_ready() {
  pid_of "$SERVERS/serve.pid" >/dev/null || return 1
  find_python
  [ "$(http_status "$(recorded APPTREMIND_URL)/readyz")" = 200 ]
}

# Sets APPTREMIND_HTTP_PORT and APPTREMIND_ADMIN_PORT.
app_port() {
  export APPTREMIND_HTTP_PORT=${APPTREMIND_HTTP_PORT:-8080}
  if [ "$APPTREMIND_HTTP_PORT" = 0 ]; then own_port "$SERVERS/http.port" && APPTREMIND_HTTP_PORT=$(cat "$SERVERS/http.port"); fi
  case $APPTREMIND_HTTP_PORT in
    *[!0-9]*) die "APPTREMIND_HTTP_PORT is \"$APPTREMIND_HTTP_PORT\", which is not a port." "give a number, for example 8081." ;;
  esac
  if port_open "$APPTREMIND_HTTP_PORT"; then
    die "port $APPTREMIND_HTTP_PORT is taken by another program." "choose another one: APPTREMIND_HTTP_PORT=$(free_port) ./scripts/$RUN_NAME (0 chooses a free one)."
  fi
  if [ -z "${APPTREMIND_ADMIN_PORT:-}" ]; then own_port "$SERVERS/admin.port" && APPTREMIND_ADMIN_PORT=$(cat "$SERVERS/admin.port"); fi
  export APPTREMIND_ADMIN_PORT
}

app_build() {
  step "Building (the first time takes minutes)"
  # All crates are named, so that features are resolved as for the tests and nothing compiles twice.
  (cd "$ROOT" && cargo build --locked --workspace --bin apptremind) ||
    die "the build failed; the compiler's message is above." "mend it and run this again."
  BINARY=$(cd "$ROOT" && cargo metadata --locked --offline --no-deps --format-version 1 |
    "$PYTHON" -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')/debug/apptremind
}

app_settings() {
  export APPTREMIND_HTTP_HOST=${APPTREMIND_HTTP_HOST:-127.0.0.1}
  export APPTREMIND_SIGNING_KEY_FILE=${APPTREMIND_SIGNING_KEY_FILE:-$APP_FOLDER/signing-key.pem}
  export APPTREMIND_MAIL_FROM=${APPTREMIND_MAIL_FROM:-ApptRemind <reminders@apptremind.example>}
  # High, so that trying things out does not end at the free plan's limit.
  export APPTREMIND_FREE_MONTHLY_CAP=${APPTREMIND_FREE_MONTHLY_CAP:-100000}
  # Whoever tries things out does them often. Only a loopback address may have none.
  case $APPTREMIND_HTTP_HOST in
    127.* | localhost | ::1) export APPTREMIND_LIMITS=${APPTREMIND_LIMITS:-off} ;;
  esac
  APP_URL=http://127.0.0.1:$APPTREMIND_HTTP_PORT
}

app_migrate() {
  step "Migrating the database"
  "$BINARY" migrate >>"$LOGS/migrate.log" 2>&1 || {
    show_log_end "$LOGS/migrate.log"
    die "the database could not be migrated." "see .local/log/migrate.log."
  }
  step "Seeding the demo salon"
  (umask 077 && "$BINARY" demo >"$APP_FOLDER/demo.json.new" 2>>"$LOGS/migrate.log") || {
    show_log_end "$LOGS/migrate.log"
    die "the demo salon could not be seeded." "see .local/log/migrate.log."
  }
  mv "$APP_FOLDER/demo.json.new" "$APP_FOLDER/demo.json"
}

serve_answers_or_ended() {
  ! pid_of "$SERVERS/serve.pid" >/dev/null || [ "$(http_status "$APP_URL/readyz")" = 200 ]
}

app_serve() {
  step "Starting the server"
  : >"$LOGS/serve.log"
  launch "$SERVERS/serve.pid" "$LOGS/serve.log" "$BINARY" serve
  if ! wait_for 60 serve_answers_or_ended || ! pid_of "$SERVERS/serve.pid" >/dev/null; then
    stop "$SERVERS/serve.pid" 5
    show_log_end "$LOGS/serve.log"
    die "the server did not get ready." "see .local/log/serve.log."
  fi
  app_record
}

app_record() {
  (
    umask 077
    cat >"$ENV_FILE" <<TEXT
APPTREMIND_URL=$APP_URL
APPTREMIND_ADMIN_URL=http://127.0.0.1:$APPTREMIND_ADMIN_PORT
APPTREMIND_INBOX_URL=${APPTREMIND_INBOX_URL:-}
APPTREMIND_DATABASE_URL=$APPTREMIND_DATABASE_URL
APPTREMIND_MIGRATE_DATABASE_URL=${APPTREMIND_MIGRATE_DATABASE_URL:-}
APPTREMIND_NATS_URL=$APPTREMIND_NATS_URL
APPTREMIND_SMTP_URL=$APPTREMIND_SMTP_URL
APPTREMIND_SIGNING_KEY_FILE=$APPTREMIND_SIGNING_KEY_FILE
APPTREMIND_BINARY=$BINARY
TEXT
  )
}

# What a newcomer wants to open first.
app_summary() {
  "$PYTHON" - "$(recorded APPTREMIND_URL)" "$(recorded APPTREMIND_INBOX_URL)" "$APP_FOLDER/demo.json" <<'PY'
import datetime, json, sys
url, inbox, demo_file = sys.argv[1:]
demo = json.load(open(demo_file))
today = datetime.date.today()
slots = f"{url}/api/v1/public/slots?business={demo['handle']}&service_id={demo['service_id']}&from={today}&to={today + datetime.timedelta(days=6)}"
print(f"""
  API         {url}
  Docs        {url}/docs
  Slots       {slots}
  Inbox       {inbox or 'the mail goes to the server that APPTREMIND_SMTP_URL names'}
  Sign in     {demo['email']}   {demo['password']}   (the demo salon "{demo['handle']}")
""")
PY
}
