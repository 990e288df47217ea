//! The reference of the slots: an axum handler that answers the same bytes and does nothing else, in a
//! process of its own.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use axum::{Router, body::Bytes, http::header::CONTENT_TYPE, routing::get};
use tokio::net::TcpListener;

use crate::{
    process::{Process, free_port},
    wire::{self, Wire},
};

/// Serves the bytes of the file until killed.
pub(crate) async fn serve(path: &Path, port: u16) -> Result<()> {
    let body = Bytes::from(std::fs::read(path).context("the bytes")?);
    let answer = move || {
        let body = body.clone();
        async move { ([(CONTENT_TYPE, "application/json")], body) }
    };
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    axum::serve(listener, Router::new().route("/", get(answer))).await?;
    Ok(())
}

/// Such a process.
pub(crate) struct Bare {
    pub(crate) process: Process,
    _file: tempfile::NamedTempFile,
}

impl Bare {
    pub(crate) async fn start(body: &[u8]) -> Result<Self> {
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(body)?;
        file.flush()?;
        let port = free_port()?;
        let child = Command::new(std::env::current_exe()?)
            .arg("--serve-bytes")
            .arg(file.path())
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .spawn()?;
        let bare = Self { process: Process::of(child, port), _file: file };
        for _ in 0..400 {
            let mut wire = Wire::new(&bare.process.address());
            if wire.send(&wire::get("/", false)).await.is_ok_and(|reply| reply.body == body) {
                return Ok(bare);
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        bail!("the bare handler does not answer")
    }
}
