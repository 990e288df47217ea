//! Named places where a test stops one task of a process, to kill or freeze that process or its servers right
//! there. Only debug builds have them.

/// Stops here when a test wants it, for as long as it wants: with `APPTREMIND_TEST_CRASH_POINTS` naming a folder,
/// whoever comes first to `room` and `step` turns the file `<room>.<step>` there into `<room>.<step>.reached`, with
/// the number of its process in it, and goes on when that is gone.
#[cfg(debug_assertions)]
pub async fn crash_point(room: &str, step: &str) {
    use std::{env, fs, path::PathBuf, process, sync::LazyLock, time::Duration};

    static FOLDER: LazyLock<Option<PathBuf>> =
        LazyLock::new(|| env::var_os("APPTREMIND_TEST_CRASH_POINTS").map(PathBuf::from));
    let Some(folder) = &*FOLDER else { return };
    let file = |ending| folder.join(format!("{room}.{step}{ending}"));
    let (wanted, taken, reached) = (file(""), file(".taken"), file(".reached"));
    let number = process::id().to_string();
    // Only one of those who come at the same time can rename it.
    let stopped = fs::rename(&wanted, &taken)
        .and_then(|()| fs::write(&taken, number))
        .and_then(|()| fs::rename(&taken, &reached));
    if stopped.is_ok() {
        while reached.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Nothing, in a build for use.
#[cfg(not(debug_assertions))]
#[expect(clippy::unused_async, reason = "debug builds wait here")]
pub async fn crash_point(_room: &str, _step: &str) {}
