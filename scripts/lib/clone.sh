# shellcheck shell=bash
# What scripts/dev and scripts/cluster (RUN_NAME) each have in this clone: one run at a time, and data of its own. The script that
# uses this has a function forget, which stops its servers and removes $SERVERS.

lock() {
  if ! mkdir "$SERVERS/lock" 2>/dev/null; then
    sleep 0.5
    if pid_of "$SERVERS/lock/pid" >/dev/null; then
      die "another ./scripts/$RUN_NAME is at work in this clone (process $(pid_of "$SERVERS/lock/pid"))." "wait until it is done, or end it."
    fi
    rm -rf "$SERVERS/lock"
    mkdir "$SERVERS/lock" 2>/dev/null || die "another ./scripts/$RUN_NAME is at work in this clone." "wait until it is done."
  fi
  remember "$SERVERS/lock/pid" $$
}
unlock() {
  if [ "$(pid_of "$SERVERS/lock/pid" || true)" = "$$" ]; then rm -rf "$SERVERS/lock"; fi
}

# Data that an earlier clone in the same folder left behind is not ours to use.
own_servers() {
  mkdir -p "$LOCAL/$RUN_NAME"
  chmod 700 "$LOCAL/$RUN_NAME"
  secret "$LOCAL/$RUN_NAME/clone" >/dev/null
  use_servers "$BASE/$RUN_NAME"
  if [ -e "$SERVERS/clone" ] && ! cmp -s "$LOCAL/$RUN_NAME/clone" "$SERVERS/clone"; then
    step "Forgetting the data of an earlier clone in this folder"
    forget
    use_servers "$BASE/$RUN_NAME"
  fi
  cp "$LOCAL/$RUN_NAME/clone" "$SERVERS/clone"
}

# Where the private Postgres and the inbox are, for the binary.
name_database() {
  APPTREMIND_MIGRATE_DATABASE_URL=$(postgres_url apptremind_owner "$1" apptremind)
  APPTREMIND_DATABASE_URL=$(postgres_url apptremind "$2" apptremind)
  export APPTREMIND_MIGRATE_DATABASE_URL APPTREMIND_DATABASE_URL
}
name_inbox() {
  export APPTREMIND_SMTP_URL=smtp://127.0.0.1:$1
  # shellcheck disable=SC2034 # read by app.sh
  APPTREMIND_INBOX_URL=http://127.0.0.1:$2
}
