//! Rules for the sources that no lint knows.

use std::fs;
use std::path::{Path, PathBuf};

struct Source {
    /// From the top of the repository, with `/`.
    path: String,
    text: String,
}

impl Source {
    /// Lines of code, numbered: no comments, nothing after the tests begin.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let tests = self.path.ends_with("tests.rs") || self.path.contains("/loom_");
        self.text
            .lines()
            .enumerate()
            .take_while(move |(_, line)| !tests && !line.starts_with("#[cfg(test)]\nmod tests {"))
            .map(|(number, line)| (number + 1, line.trim_start()))
            .filter(|(_, line)| !line.starts_with("//"))
    }
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for folder in folders {
        collect(&top.join(folder), &mut paths);
    }
    assert!(!paths.is_empty());
    let read = |path: PathBuf| Source {
        path: path
            .strip_prefix(top)
            .unwrap()
            .to_str()
            .unwrap()
            .replace('\\', "/"),
        text: fs::read_to_string(&path).unwrap(),
    };
    paths.into_iter().map(read).collect()
}

const ALL: &[&str] = &["src", "tests", "benches", "examples"];

/// Panics with all of what was found, not only the first.
fn none(found: Vec<String>) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// Every line of code of `sources` for which `breaks` holds.
fn lines(sources: &[Source], breaks: impl Fn(&Source, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        for (number, line) in source.code() {
            if breaks(source, line) {
                found.push(format!("{}:{number}: {line}", source.path));
            }
        }
    }
    found
}

#[test]
fn a_file_has_at_most_400_lines() {
    let sources = sources(ALL);
    let long = sources.iter().filter_map(|source| {
        let lines = source.text.lines().count();
        (lines > 400).then(|| format!("{}: {lines} lines", source.path))
    });
    none(long.collect());
}

/// The folders in `src` that have a policy.
fn patterns() -> Vec<String> {
    let sources = sources(&["src"]);
    let folder = |source: &Source| {
        let rest = source.path.strip_prefix("src/")?;
        rest.strip_suffix("/policy.rs").map(str::to_owned)
    };
    sources.iter().filter_map(folder).collect()
}

#[test]
fn no_pattern_knows_another() {
    let patterns = patterns();
    assert!(patterns.len() >= 3, "{patterns:?}");
    let kernel_and_vocabulary = sources(&["src"]);
    none(lines(&kernel_and_vocabulary, |source, line| {
        let own = source.path.split('/').nth(1).unwrap_or_default();
        source.path != "src/lib.rs"
            && patterns.iter().any(|pattern| {
                own != pattern
                    && (line.contains(&format!("crate::{pattern}"))
                        || line.contains(&format!("super::super::{pattern}")))
            })
    }));
}

#[test]
fn only_the_clock_reads_a_clock() {
    let reads = [
        "Instant::now",
        "SystemTime::now",
        ".elapsed()",
        "time::sleep",
        "time::timeout",
    ];
    none(lines(&sources(&["src"]), |source, line| {
        !source.path.starts_with("src/clock/") && reads.iter().any(|read| line.contains(read))
    }));
}

#[test]
fn the_way_in_takes_no_lock() {
    // A call runs through these; what is cold lives in other files.
    let hot = |path: &str| {
        ["service.rs", "future.rs"]
            .iter()
            .any(|file| path.ends_with(file))
            || [
                "gcra",
                "counter",
                "guard",
                "gate",
                "ready",
                "shared",
                "histogram",
            ]
            .iter()
            .any(|kernel| path == format!("src/kernel/{kernel}.rs"))
    };
    let locks = [
        "Mutex",
        "RwLock",
        ".lock(",
        ".read()",
        ".write()",
        "Semaphore",
        "Notify",
    ];
    let sources = sources(&["src"]);
    assert!(sources.iter().filter(|source| hot(&source.path)).count() >= 12);
    none(lines(&sources, |source, line| {
        hot(&source.path) && locks.iter().any(|lock| line.contains(lock))
    }));
}

#[test]
fn atomics_keep_to_the_rules() {
    let sources = sources(&["src"]);
    none(lines(&sources, |source, line| {
        let outside = source.path != "src/kernel/sync.rs";
        // Loom takes them for something weaker.
        line.contains("SeqCst")
            || outside && line.contains("std::sync::atomic")
            || outside && line.contains("static ") && line.contains("Atomic")
    }));
}

#[test]
fn words_that_have_no_place_here() {
    // In two halves, or they would be found here.
    let words = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["X", "XX"],
        ["HA", "CK"],
        ["dbg", "!("],
        ["un", "safe {"],
        ["/ho", "me/"],
        ["/ro", "ot/"],
        ["/wo", "rk/"],
        ["/Us", "ers/"],
        ["fn man", "age"],
        ["fn hand", "le_"],
        ["fn proc", "ess"],
    ]
    .map(|halves| halves.concat());
    let mut found = Vec::new();
    for source in sources(ALL) {
        for (number, line) in source.text.lines().enumerate() {
            if let Some(word) = words.iter().find(|word| line.contains(word.as_str())) {
                found.push(format!("{}:{}: `{word}`", source.path, number + 1));
            }
        }
    }
    none(found);
}
