# shellcheck shell=bash
# Three private nats-servers on loopback that keep their streams together, for scripts/cluster.

NODES="1 2 3"

node_runs() {
  pid_of "$SERVERS/nats-$1.pid" >/dev/null && nats_greets "$(cat "$SERVERS/nats-$1.port")" "apptremind-$(cat "$SERVERS/nats.name")-$1"
}

# The addresses of the three, by the port file's suffix: "port" for clients, "route" among themselves.
node_urls() {
  local node urls=
  for node in $NODES; do urls=$urls${urls:+,}nats://127.0.0.1:$(cat "$SERVERS/nats-$node.$1"); done
  echo "$urls"
}

# nats_cluster_start: starts those that do not run. The others know them by their ports, so ports change only when none runs.
nats_cluster_start() {
  local node running=
  find_nats
  secret "$SERVERS/nats.name" >/dev/null
  for node in $NODES; do
    if pid_of "$SERVERS/nats-$node.pid" >/dev/null; then running=$running$node; fi
  done
  if [ -z "$running" ]; then
    step "Starting three nats-servers ($("$NATS_SERVER" --version | awk '{ print $2 }'))"
    for node in $NODES; do
      own_port "$SERVERS/nats-$node.port"
      own_port "$SERVERS/nats-$node.route"
    done
  fi
  for node in $NODES; do
    case $running in *"$node"*) ;; *) node_start "$node" ;; esac
  done
  for node in $NODES; do
    wait_for 20 node_runs "$node" || {
      show_log_end "$LOGS/$RUN_NAME-nats-$node.log"
      die "nats-server $node of 3 did not come up." "./scripts/$RUN_NAME --stop, then start again: other ports are chosen where one is taken."
    }
  done
}

node_start() {
  local folder=$SERVERS/nats-$1
  server_folder "$folder"
  cat >"$folder.conf" <<CONF
server_name: "apptremind-$(cat "$SERVERS/nats.name")-$1"
listen: "127.0.0.1:$(cat "$folder.port")"
jetstream {
  store_dir: "$folder"
  max_memory_store: 268435456
  max_file_store: 4294967296
}
cluster {
  name: "apptremind-$(cat "$SERVERS/nats.name")"
  listen: "127.0.0.1:$(cat "$folder.route")"
  routes: ["$(node_urls route | sed 's/,/", "/g')"]
}
CONF
  chmod 644 "$folder.conf"
  launch "$folder.pid" "$LOGS/$RUN_NAME-nats-$1.log" ${AS_SERVER[@]+"${AS_SERVER[@]}"} "$NATS_SERVER" --config "$folder.conf"
}

nats_cluster_stop() {
  local node
  for node in $NODES; do stop "$SERVERS/nats-$node.pid" 10; done
}
