# shellcheck shell=bash
# The servers of compose.yaml, for scripts/dev on a machine where a Docker engine runs. The binary still runs outside of it.

docker_answers() {
  have docker && docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1
}

# One project per clone, so that two clones stay apart.
compose() {
  docker compose --project-directory "$ROOT" --file "$ROOT/compose.yaml" \
    --project-name "apptremind-dev-$(printf '%s' "$ROOT" | cksum | cut -d ' ' -f 1)" "$@"
}

# A port that our own container holds already is kept; otherwise a free one is chosen.
compose_port() {
  if [ -n "$COMPOSE_RUNNING" ] && [ -s "$SERVERS/$1.port" ]; then cat "$SERVERS/$1.port"; else remembered_port "$SERVERS/$1.port"; fi
}

# compose_start SERVICE...: starts these and waits until they are healthy.
compose_start() {
  COMPOSE_RUNNING=$(compose ps --quiet --status running 2>/dev/null || true)
  APPTREMIND_OWNER_PASSWORD=$(secret "$SERVERS/owner.secret")
  APPTREMIND_APP_PASSWORD=$(secret "$SERVERS/app.secret")
  COMPOSE_POSTGRES_PORT=$(compose_port postgres)
  COMPOSE_NATS_PORT=$(compose_port nats)
  COMPOSE_SMTP_PORT=$(compose_port smtp)
  COMPOSE_INBOX_PORT=$(compose_port inbox)
  export APPTREMIND_OWNER_PASSWORD APPTREMIND_APP_PASSWORD COMPOSE_POSTGRES_PORT COMPOSE_NATS_PORT COMPOSE_SMTP_PORT COMPOSE_INBOX_PORT
  touch "$SERVERS/compose"
  step "Starting $* (docker compose; the first time downloads the images)"
  compose up --detach --wait "$@" >>"$LOGS/compose.log" 2>&1 || {
    show_log_end "$LOGS/compose.log"
    die "docker compose did not bring up $*." \
      "see .local/log/compose.log, or run the servers without Docker: APPTREMIND_DEV_SERVERS=private ./scripts/dev"
  }
}

compose_stop() { compose stop >>"$LOGS/compose.log" 2>&1 || true; }
compose_reset() { compose down --volumes >>"$LOGS/compose.log" 2>&1 || true; }
