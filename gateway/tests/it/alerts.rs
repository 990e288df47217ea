//! The rules by which operators are woken.

use std::{collections::BTreeSet, fs, path::Path};

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Whatever begins like a metric of ours.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !word(c)).filter(|name| name.starts_with("apptremind_"));
    words.map(|name| name.trim_end_matches("_count").to_owned()).collect()
}

fn sources(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|end| end == "rs") {
            all.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn alerts_are_about_metrics_that_there_are_and_have_their_place_in_the_runbook() {
    let rules = fs::read_to_string(root().join("deploy/alerts.yaml")).unwrap();
    let runbook = fs::read_to_string(root().join("docs/runbook.md")).unwrap();
    let mut source = String::new();
    for room in ["streams", "commands", "projections", "reactors", "gateway"] {
        sources(&root().join(room).join("src"), &mut source);
    }
    let metrics = metrics_in(&rules);
    assert!(metrics.len() > 5, "{metrics:?}");
    for metric in metrics {
        assert!(source.contains(&format!("\"{metric}\"")), "nobody counts {metric}");
        assert!(
            runbook.contains(&format!("`{metric}`")),
            "the runbook does not say what {metric} is"
        );
    }
    let alerts: Vec<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 5, "{alerts:?}");
    for alert in alerts {
        assert!(runbook.contains(&format!("`{alert}`")), "the runbook does not know {alert}");
    }
}
