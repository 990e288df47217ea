//! A broker that a test may kill, alone or as a cluster of three.

use std::{path::PathBuf, time::Duration};

use streams::broker::Broker;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
};

use crate::{
    eventually,
    process::{Process, command, folder, free_port, give_away, last_words},
    setting,
};

/// A nats-server with `JetStream`, on a port that it keeps.
#[derive(Debug)]
pub struct NatsServer {
    process: Option<Process>,
    folder: TempDir,
    port: u16,
    /// In a cluster: how the servers reach each other.
    cluster: Vec<String>,
}

impl NatsServer {
    /// Starts one with an empty store.
    pub async fn start() -> Self {
        let mut server = Self::new();
        while !server.launch().await {
            // Somebody was quicker to take the port.
            server.port = free_port();
        }
        server
    }

    fn new() -> Self {
        Self { process: None, folder: folder("nats"), port: free_port(), cluster: vec![] }
    }

    /// Where it listens, also after [`Self::start_again`].
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Forgets streams, consumers and messages. The server must not be running.
    ///
    /// # Panics
    /// When the folder cannot be removed.
    pub fn delete_data(&mut self) {
        assert!(self.process.is_none(), "kill it first");
        let store = self.store();
        if store.exists() {
            std::fs::remove_dir_all(store).expect("a folder of ours");
        }
    }

    /// Starts it again on the same port.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start_again(&mut self) {
        let up = self.launch().await;
        assert!(up, "nats-server did not come up again: {}", last_words(&self.log()));
    }

    /// False when it ended at once: the port was taken.
    async fn launch(&mut self) -> bool {
        std::fs::create_dir_all(self.store()).expect("a folder for the store");
        give_away(&self.store()).expect("a folder for the store");
        let mut server = command(setting("APPTREMIND_TEST_NATS_SERVER"));
        let (port, name) = (self.port.to_string(), self.name());
        server.args(["--addr", "127.0.0.1", "--port", &port, "--name", &name, "--jetstream"]);
        server.arg("--store_dir").arg(self.store()).args(&self.cluster);
        let mut process = Process::start(server, &self.log());
        let up = eventually("nats-server answers or ends", async || {
            if process.has_ended() {
                return Some(false);
            }
            self.answers().await.then_some(true)
        })
        .await;
        self.process = up.then_some(process);
        up
    }

    /// Whether the one that greets on the port is ours.
    async fn answers(&self) -> bool {
        let greeting = async {
            let stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).await.ok()?;
            Some(line)
        };
        let greeting = tokio::time::timeout(Duration::from_secs(2), greeting).await;
        matches!(greeting, Ok(Some(line)) if line.contains(&self.name()))
    }

    fn name(&self) -> String {
        self.folder.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Where it keeps its data.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

/// Three nats-servers that keep their streams together.
#[derive(Debug)]
pub struct NatsCluster {
    nodes: [NatsServer; 3],
}

impl NatsCluster {
    /// Starts one with empty stores.
    pub async fn start() -> Self {
        loop {
            let mut cluster = Self { nodes: [(); 3].map(|()| NatsServer::new()) };
            let routes = [(); 3].map(|()| format!("nats://127.0.0.1:{}", free_port()));
            for (node, route) in cluster.nodes.iter_mut().zip(&routes) {
                let routes = routes.join(",");
                let arguments = ["--cluster_name", "test", "--cluster", route, "--routes", &routes];
                node.cluster = arguments.map(str::to_owned).to_vec();
            }
            let [one, two, three] = &mut cluster.nodes;
            // One that ends at once had its port taken by somebody quicker.
            if tokio::join!(one.launch(), two.launch(), three.launch()) == (true, true, true) {
                cluster.is_one().await;
                return cluster;
            }
        }
    }

    /// Where the servers listen, separated by commas.
    #[must_use]
    pub fn url(&self) -> String {
        self.nodes.each_ref().map(NatsServer::url).join(",")
    }

    /// One of the three, to be killed.
    ///
    /// # Panics
    /// When there is none of that number.
    pub fn node(&mut self, number: usize) -> &mut NatsServer {
        self.nodes.get_mut(number).expect("three servers")
    }

    /// Which server leads a stream at the moment.
    pub async fn leader_of(&self, stream: &str) -> usize {
        let broker = self.broker().await;
        eventually("the stream has a leader", async || {
            let stream = broker.jetstream().get_stream(stream).await.ok()?;
            let leader = stream.cached_info().cluster.as_ref()?.leader.clone()?;
            self.nodes.iter().position(|node| node.name() == leader)
        })
        .await
    }

    /// How many servers have all of a stream.
    pub async fn copies_of(&self, stream: &str) -> usize {
        let broker = self.broker().await;
        let Ok(stream) = broker.jetstream().get_stream(stream).await else { return 0 };
        let Some(cluster) = &stream.cached_info().cluster else { return 1 };
        usize::from(cluster.leader.is_some())
            + cluster.replicas.iter().filter(|replica| replica.current && !replica.offline).count()
    }

    /// The servers have found each other and keep streams.
    async fn is_one(&self) {
        let broker = self.broker().await;
        eventually("the cluster keeps streams", async || {
            broker.jetstream().query_account().await.ok().map(drop)
        })
        .await;
    }

    async fn broker(&self) -> Broker {
        Broker::connect(&self.url()).await.expect("addresses of ours")
    }
}
