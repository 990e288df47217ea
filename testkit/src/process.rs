use std::{
    fs::{self, File},
    io,
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt},
    path::Path,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::setting;

/// A server that lives no longer than its handle.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

/// A folder of its own that the account of the servers can use. The runner knows the servers that
/// outlived their test by this path in their command line.
pub(crate) fn folder(kind: &str) -> TempDir {
    let folder = tempfile::Builder::new()
        .prefix(&format!("{kind}-"))
        .tempdir_in(setting("APPTREMIND_TEST_DIR"))
        .expect("a folder for a server");
    give_away(folder.path()).expect("a folder that the server can use");
    folder
}

/// Makes a path belong to the account that servers run as, when that is another one.
pub(crate) fn give_away(path: &Path) -> io::Result<()> {
    match account() {
        Some((user, group)) => chown(path, Some(user), Some(group)),
        None => Ok(()),
    }
}

/// Servers refuse to run as root, so the runner names somebody else then.
fn account() -> Option<(u32, u32)> {
    let name = setting("APPTREMIND_TEST_RUNAS");
    let number = |flag: &str| {
        let output = Command::new("id").args([flag, &name]).output().expect("the command `id`");
        String::from_utf8_lossy(&output.stdout).trim().parse().expect("a known account")
    };
    (!name.is_empty()).then(|| (number("-u"), number("-g")))
}

/// A command that runs as the account of the servers.
pub(crate) fn command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    if let Some((user, group)) = account() {
        command.uid(user).gid(group).env_remove("HOME");
    }
    command.current_dir("/").stdin(Stdio::null());
    command
}

/// A port where nobody listens, below those that outgoing connections use: one of those may be taken before it is
/// listened to. It is nobody else's for as long as this run of the tests lasts, so that it can be
/// listened to later, or again.
///
/// # Panics
/// When a hundred are in use.
#[must_use]
pub fn free_port() -> u16 {
    let wished =
        || 20_000 + u16::try_from(streams::clock::new_id().as_u128() % 12_000).unwrap_or(0);
    let claims = setting("APPTREMIND_TEST_DIR");
    let claim = |port: &u16| File::create_new(Path::new(&claims).join(format!("port-{port}")));
    (0..100)
        .map(|_| wished())
        .find(|port| claim(port).is_ok() && TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}

impl Process {
    /// Starts a server whose words go to the file `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> Self {
        let log = File::options().create(true).append(true).open(log).expect("a log file");
        let errors = log.try_clone().expect("a log file");
        let child = command.stdout(log).stderr(errors).spawn().expect("a server that starts");
        Self { child }
    }

    /// Whether it ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Waits for its end, and says whether it ended well.
    pub(crate) fn succeeds(&mut self) -> bool {
        self.child.wait().is_ok_and(|status| status.success())
    }

    /// SIGKILL, for it and its children, as if the power had failed.
    pub(crate) fn kill(&mut self) {
        if self.has_ended() {
            return;
        }
        // Stopped first, so that it has no more children than those listed.
        signal("-STOP", &[self.child.id().to_string()]);
        signal("-KILL", &self.children());
        self.child.kill().expect("a process of ours");
        self.child.wait().expect("a process of ours");
    }

    /// Sends a signal to it and then to its children.
    pub(crate) fn signal_all(&self, name: &str) {
        signal(name, &[self.child.id().to_string()]);
        signal(name, &self.children());
    }

    fn children(&self) -> Vec<String> {
        let id = self.child.id().to_string();
        let listed = Command::new("pgrep").args(["-P", &id]).output().expect("the command `pgrep`");
        String::from_utf8_lossy(&listed.stdout).split_whitespace().map(str::to_owned).collect()
    }
}

fn signal(name: &str, ids: &[String]) {
    if !ids.is_empty() {
        // A child may be gone meanwhile.
        let _ = Command::new("kill").arg(name).args(ids).stderr(Stdio::null()).status();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last words of a server that did not come up.
pub(crate) fn last_words(log: &Path) -> String {
    let words = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = words.lines().rev().take(15).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
