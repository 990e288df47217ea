//! A clock that a test puts forward and back, for the processes that are given it: those that show the time of day by
//! it. What they measure with is left alone, as when somebody sets the clock of a machine.

use std::{fs, path::PathBuf};

use tempfile::TempDir;

use crate::{
    process::{folder, give_away},
    setting,
};

/// How far ahead of ours it is stands in a file.
#[derive(Debug)]
pub struct Clock(TempDir);

impl Clock {
    /// One that shows the time.
    ///
    /// # Panics
    /// When there is no library for it, which ./scripts/test installs.
    #[must_use]
    pub fn new() -> Self {
        let clock = Self(folder("clock"));
        // As the account of the servers may not look into this clone.
        fs::copy(setting("APPTREMIND_TEST_FAKETIME"), clock.library()).expect("the library");
        give_away(&clock.library()).expect("a library that the servers can use");
        clock.put_ahead(0);
        clock
    }

    /// So many seconds ahead of the time.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn put_ahead(&self, seconds: i64) {
        let (file, new) = (self.file(), self.0.path().join("new"));
        fs::write(&new, format!("{seconds:+}\n")).expect("the file of the clock");
        give_away(&new).expect("a file that the servers can use");
        // Nobody reads half of it.
        fs::rename(new, file).expect("the file of the clock");
    }

    /// What makes a process go by it.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        vec![
            ("LD_PRELOAD", text(self.library())),
            ("FAKETIME_TIMESTAMP_FILE", text(self.file())),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("ahead")
    }

    fn library(&self) -> PathBuf {
        self.0.path().join("libfaketime.so.1")
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
