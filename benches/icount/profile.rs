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
        .args(["--collect-atstart=no", "--toggle-collect=*icount_measured_calls*"])
        .arg("--dump-after=*icount_measured_calls*")
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

const ALLOCATES: &[&str] = &["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"];

/// Reads one profile. Its lines are `0xaddress line count`, those after
/// `calls=` are sums of what was called, and headers say where they belong.
fn read(path: &Path, program: &str, marks: &mut Marks) -> io::Result<Counts> {
    let (mut instructions, mut locked, mut clock, mut allocations) = (0, 0, 0, 0);
    let (mut object, mut called) = (String::new(), String::new());
    let mut inclusive = false;
    for line in BufReader::new(fs::File::open(path)?).lines() {
        let line = line?;
        if let Some(name) = line.strip_prefix("ob=") {
            name.clone_into(&mut object);
        } else if let Some(name) = line.strip_prefix("cfn=") {
            name.clone_into(&mut called);
        } else if let Some(calls) = line.strip_prefix("calls=") {
            inclusive = true;
            let calls: u64 = number(calls.split(' ').next());
            let name = called.split('@').next().unwrap_or_default();
            if name.trim_start_matches('_') == "clock_gettime" {
                clock += calls;
            } else if ALLOCATES.contains(&name) {
                allocations += calls;
            }
        } else if line.starts_with("0x") {
            if std::mem::take(&mut inclusive) {
                continue;
            }
            let mut words = line.split(' ');
            let address = words.next().and_then(|word| word.strip_prefix("0x"));
            let address = address.and_then(|word| u64::from_str_radix(word, 16).ok());
            let times = number(words.nth(1));
            let (locks, stamps) = marks.of(&object)?;
            let address = address.unwrap_or_default();
            locked += if locks.contains(&address) { times } else { 0 };
            clock += if stamps.contains(&address) { times } else { 0 };
            instructions += if object == program { times } else { 0 };
        }
    }
    Ok(Counts {
        instructions: per_call(instructions),
        locked: per_call(locked),
        clock: per_call(clock),
        allocations: per_call(allocations),
    })
}

fn number(word: Option<&str>) -> u64 {
    word.and_then(|word| word.parse().ok()).unwrap_or_default()
}

#[allow(clippy::cast_precision_loss)] // far below 2^52
fn per_call(count: u64) -> f64 {
    count as f64 / CALLS as f64
}
