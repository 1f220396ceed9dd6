//! Runs this program under callgrind and reads what it has counted.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::CALLS;

/// What one call costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    /// Instructions of the program without libc.
    pub instructions: f64,
    /// Read-modify-writes that lock the bus.
    pub locked: f64,
    /// Clock reads.
    pub clock: f64,
    /// Heap allocations.
    pub allocations: f64,
}

/// The counts of every row, in their order.
pub(crate) fn count() -> io::Result<Vec<Counts>> {
    let program = std::env::current_exe()?;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("icount");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let output = folder.join("callgrind.out");
    let status = Command::new("valgrind")
        .args(["-q", "--tool=callgrind", "--dump-instr=yes"])
        .args(["--compress-strings=no", "--compress-pos=no"])
        .args([
            "--collect-atstart=no",
            "--toggle-collect=*icount_measured_calls*",
        ])
        .arg("--dump-before=*icount_row_ends*")
        .arg(format!("--callgrind-out-file={}", output.display()))
        .arg(&program)
        .arg("--under-callgrind")
        .stdout(Stdio::null())
        .status()?;
    if !status.success() {
        return Err(io::Error::other(format!("valgrind ended with {status}")));
    }
    let mut marks = Marks::default();
    (1..)
        .map(|part| PathBuf::from(format!("{}.{part}", output.display())))
        .take_while(|part| part.exists())
        .map(|part| read(&part, &program.to_string_lossy(), &mut marks))
        .collect()
}

/// Addresses of the instructions that are counted by kind, per object file.
#[derive(Default)]
struct Marks(HashMap<String, (HashSet<u64>, HashSet<u64>)>);

impl Marks {
    /// The locked instructions and the readings of the time stamp counter.
    fn of(&mut self, object: &str) -> io::Result<&(HashSet<u64>, HashSet<u64>)> {
        if !self.0.contains_key(object) {
            let marks = disassemble(object)?;
            self.0.insert(object.to_owned(), marks);
        }
        Ok(&self.0[object])
    }
}

fn disassemble(object: &str) -> io::Result<(HashSet<u64>, HashSet<u64>)> {
    let (mut locked, mut stamps) = (HashSet::new(), HashSet::new());
    if !Path::new(object).exists() {
        return Ok((locked, stamps));
    }
    let mut child = Command::new("objdump")
        .args(["--disassemble", "--no-show-raw-insn", object])
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    for line in BufReader::new(output).lines() {
        let line = line?;
        let Some((address, text)) = line.split_once(":\t") else {
            continue;
        };
        let Ok(address) = u64::from_str_radix(address.trim(), 16) else {
            continue;
        };
        // An exchange with memory locks without being told to.
        if text.starts_with("lock") || text.starts_with("xchg") && text.contains('(') {
            locked.insert(address);
        } else if text.starts_with("rdtsc") {
            stamps.insert(address);
        }
    }
    child.wait()?;
    Ok((locked, stamps))
}

const ALLOCATES: &[&str] = &[
    "malloc",
    "calloc",
    "realloc",
    "posix_memalign",
    "aligned_alloc",
];

/// Reads one profile. Its lines are `0xaddress line count`, those after
/// `calls=` are sums of what was called, and headers say where they belong.
fn read(path: &Path, program: &str, marks: &mut Marks) -> io::Result<Counts> {
    let text = fs::read_to_string(path)?;
    let (readers, allocators) = entries(&text);
    let (mut instructions, mut locked, mut clock, mut allocations) = (0, 0, 0, 0);
    let (mut object, mut inclusive) = ("", false);
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("ob=") {
            object = name;
        } else if line.starts_with("calls=") {
            inclusive = true;
        } else if line.starts_with("0x") {
            if std::mem::take(&mut inclusive) {
                continue;
            }
            let mut words = line.split(' ');
            let address = address(words.next());
            let times: u64 = words
                .nth(1)
                .and_then(|word| word.parse().ok())
                .unwrap_or_default();
            let (locks, stamps) = marks.of(object)?;
            let times_if = |is: bool| if is { times } else { 0 };
            let here = (object, address);
            instructions += times_if(object == program);
            locked += times_if(locks.contains(&address));
            clock += times_if(stamps.contains(&address) || readers.contains(&here));
            allocations += times_if(allocators.contains(&here));
        }
    }
    Ok(Counts {
        instructions: per_call(instructions),
        locked: per_call(locked),
        clock: per_call(clock),
        allocations: per_call(allocations),
    })
}

type Entries<'a> = HashSet<(&'a str, u64)>;

/// Where the functions begin that read the clock, and those that allocate. The
/// numbers of calls in a profile are of no use: they count all the time.
fn entries(text: &str) -> (Entries<'_>, Entries<'_>) {
    let (mut readers, mut allocators) = (HashSet::new(), HashSet::new());
    let (mut object, mut target, mut called) = ("", None, "");
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("ob=") {
            object = name;
        } else if let Some(name) = line.strip_prefix("cob=") {
            target = Some(name);
        } else if let Some(name) = line.strip_prefix("cfn=") {
            called = name.split(['@', '\'']).next().unwrap_or_default();
        } else if let Some(calls) = line.strip_prefix("calls=") {
            let entry = (
                target.take().unwrap_or(object),
                address(calls.split(' ').nth(1)),
            );
            if called.trim_start_matches('_') == "clock_gettime" {
                readers.insert(entry);
            } else if ALLOCATES.contains(&called) {
                allocators.insert(entry);
            }
        }
    }
    (readers, allocators)
}

fn address(word: Option<&str>) -> u64 {
    word.and_then(|word| word.strip_prefix("0x"))
        .and_then(|word| u64::from_str_radix(word, 16).ok())
        .unwrap_or_default()
}

#[allow(clippy::cast_precision_loss)] // far below 2^52
fn per_call(count: u64) -> f64 {
    count as f64 / CALLS as f64
}
