//! What a call may cost: `benches/icount.ceilings.toml`.

use std::fmt::Write as _;
use std::fs;
use std::process::{Command, ExitCode};

use toml::{Table, Value};

use super::profile::Counts;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/icount.ceilings.toml");

const HEAD: &str = "\
# What a call may cost, by rustc version and target: instructions of the program
# without libc (2 % more are let through), locked instructions, clock reads and
# allocations. Written by `cargo bench --bench icount -- --write`; a row that got
# dearer needs a reason.
";

/// Instructions may exceed their ceiling by this factor.
const TOLERANCE: f64 = 1.02;
/// Counts are averages over many calls: this much is one call in a thousand.
const ROUNDING: f64 = 0.001;

/// The compiler's version and target.
pub(crate) fn rustc() -> String {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let output = Command::new(rustc).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let version = text.as_deref().unwrap_or_default().split(' ').nth(1);
    let (version, arch) = (version.unwrap_or("unknown"), std::env::consts::ARCH);
    format!("{version} {arch}")
}

fn stored() -> Result<Table, String> {
    match fs::read_to_string(FILE) {
        Ok(text) => text.parse().map_err(|error| format!("{FILE}: {error}")),
        Err(_) => Ok(Table::new()),
    }
}

fn counts(value: &Value) -> Counts {
    let of = |name| match value.get(name) {
        Some(Value::Float(count)) => *count,
        Some(Value::Integer(count)) => f64::from(i32::try_from(*count).unwrap_or(i32::MAX)),
        _ => f64::INFINITY,
    };
    Counts {
        instructions: of("instructions"),
        locked: of("locked"),
        clock: of("clock"),
        allocations: of("allocations"),
    }
}

/// Stores the counts as the ceilings of this compiler.
pub(crate) fn write(rustc: &str, rows: &[(&str, Counts)]) -> ExitCode {
    let mut file = match stored() {
        Ok(file) => file,
        Err(problem) => return fail(&problem),
    };
    let rows: Vec<_> = rows.iter().map(|(name, c)| (*name, *c)).collect();
    file.remove(rustc);
    let mut text = HEAD.to_owned();
    section(&mut text, rustc, &rows);
    for (version, table) in &file {
        let Value::Table(table) = table else { continue };
        let rows: Vec<_> = table.iter().map(|(n, v)| (n.as_str(), counts(v))).collect();
        section(&mut text, version, &rows);
    }
    match fs::write(FILE, text) {
        Ok(()) => {
            println!("icount: stored as the ceilings of rustc {rustc}");
            ExitCode::SUCCESS
        }
        Err(error) => fail(&format!("{FILE}: {error}")),
    }
}

fn section(text: &mut String, version: &str, rows: &[(&str, Counts)]) {
    let _ = write!(text, "\n[\"{version}\"]\n");
    for (name, c) in rows {
        let _ = writeln!(
            text,
            "\"{name}\" = {{ instructions = {:?}, locked = {:?}, clock = {:?}, allocations = {:?} }}",
            c.instructions, c.locked, c.clock, c.allocations
        );
    }
}

/// Fails where a count is above its ceiling.
pub(crate) fn check(rustc: &str, rows: &[(&str, Counts)]) -> ExitCode {
    let file = match stored() {
        Ok(file) => file,
        Err(problem) => return fail(&problem),
    };
    let (ceilings, instructions) = match (file.get(rustc), file.values().next()) {
        (Some(own), _) => (own, true),
        (None, Some(other)) => {
            println!(
                "icount: no ceilings for rustc {rustc}: instructions are not checked, only locked \
                 instructions, clock reads and allocations"
            );
            (other, false)
        }
        (None, None) => return fail("no ceilings are stored at all"),
    };
    let mut exceeded = 0;
    for (name, counts_now) in rows {
        let Some(ceiling) = ceilings.get(name).map(counts) else {
            exceeded += 1;
            println!("icount: \"{name}\" has no ceiling: store one with `-- --write`");
            continue;
        };
        let pairs = [
            (
                "instructions",
                counts_now.instructions,
                ceiling.instructions * TOLERANCE,
            ),
            (
                "locked instructions",
                counts_now.locked,
                by_chance(ceiling.locked) + ROUNDING,
            ),
            ("clock reads", counts_now.clock, ceiling.clock + ROUNDING),
            (
                "allocations",
                counts_now.allocations,
                ceiling.allocations + ROUNDING,
            ),
        ];
        for (what, now, most) in pairs.into_iter().skip(usize::from(!instructions)) {
            if now > most {
                exceeded += 1;
                println!("icount: \"{name}\": {now:.3} {what}, allowed are {most:.3}");
            }
        }
    }
    if exceeded > 0 {
        return fail(&format!(
            "{exceeded} of {} counts exceed their ceilings",
            rows.len() * 4
        ));
    }
    println!(
        "icount: {} rows within their ceilings (rustc {rustc})",
        rows.len()
    );
    ExitCode::SUCCESS
}

fn fail(problem: &str) -> ExitCode {
    eprintln!("icount: {problem}");
    ExitCode::FAILURE
}

/// What is done in some calls only, by chance, is not as often in another run.
fn by_chance(count: f64) -> f64 {
    match (count - count.round()).abs() > ROUNDING {
        true => count * 1.2,
        false => count,
    }
}
