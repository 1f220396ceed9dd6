//! What systemd and a heartbeat file are told.

use std::ffi::OsString;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::{fs, io};

use tower_keep::watchdog::{HeartbeatFile, Systemd};

use crate::bench::{Bench, ms, secs, wait};

/// A place of its own in the folder for temporary files.
fn place(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("keep-{name}-{}", std::process::id()));
    drop(fs::remove_file(&path));
    path
}

/// All datagrams that are there.
fn datagrams(socket: &UnixDatagram) -> Vec<String> {
    socket.set_nonblocking(true).unwrap();
    let mut all = Vec::new();
    let mut bytes = [0; 512];
    while let Ok(len) = socket.recv(&mut bytes) {
        all.push(String::from_utf8(bytes[..len].to_vec()).unwrap());
    }
    all
}

fn systemd(vars: &[(&str, String)]) -> io::Result<Option<Systemd>> {
    Systemd::from_vars(|name| {
        let var = vars.iter().find(|(var, _)| *var == name)?;
        Some(OsString::from(&var.1))
    })
}

#[test]
fn systemd_is_told_exactly_what_it_asks_for() {
    let path = place("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let systemd = systemd(&[
        ("NOTIFY_SOCKET", path.to_str().unwrap().to_owned()),
        ("WATCHDOG_USEC", "20000000".to_owned()),
        ("WATCHDOG_PID", std::process::id().to_string()),
    ]);
    let systemd = systemd.unwrap().unwrap();
    assert_eq!(systemd.watchdog_timeout(), Some(secs(20)));
    let bench = Bench::new();
    let watchdog = bench.builder().systemd(&systemd).start().unwrap();
    let kicker = watchdog.task("copy", secs(15)).unwrap();
    bench.until_tasks(&watchdog, 1);
    systemd.ready().unwrap();
    assert_eq!(datagrams(&socket), ["WATCHDOG=1", "READY=1"]);
    // Every ten seconds, and not between them.
    for _ in 0..3 {
        kicker.kick();
        bench.pass(ms(9_900));
        assert_eq!(datagrams(&socket), [""; 0]);
        bench.pass(ms(100));
        assert_eq!(datagrams(&socket), ["WATCHDOG=1"]);
    }
    bench.pass(secs(30));
    let told = datagrams(&socket);
    let status = "STATUS=task \"copy\": no progress for 1";
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with(status), "{told:?}");
    kicker.kick();
    bench.pass(secs(10));
    assert_eq!(datagrams(&socket), ["STATUS=watching", "WATCHDOG=1"]);
    systemd.status("of two lines\nthe first").unwrap();
    systemd.stopping().unwrap();
    assert_eq!(datagrams(&socket), ["STATUS=of two lines", "STOPPING=1"]);
    // Nobody takes it: an error, and nobody waits.
    drop(socket);
    assert!(systemd.ready().is_err());
    kicker.kick();
    bench.pass(secs(10));
    assert!(watchdog.snapshot().missed > 0);
    fs::remove_file(path).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn an_abstract_socket_is_one_too() {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("keep-notify-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    let systemd = systemd(&[("NOTIFY_SOCKET", format!("@{name}"))]);
    let systemd = systemd.unwrap().unwrap();
    systemd.ready().unwrap();
    assert_eq!(datagrams(&socket), ["READY=1"]);
    // It was not told to be a watchdog, and is none.
    assert_eq!(systemd.watchdog_timeout(), None);
    let bench = Bench::new();
    let watchdog = bench.builder().systemd(&systemd).start().unwrap();
    wait(|| watchdog.snapshot().looks > 0);
    assert_eq!(datagrams(&socket), [""; 0]);
}

type Var<'a> = (&'a str, &'a str);

/// `sd_watchdog_enabled(3)`: on if the time is set, and the process unset or this one.
#[test]
fn the_environment_says_whether_and_when() {
    let pid = std::process::id().to_string();
    let table: [(&[Var<'_>], Option<u64>); 7] = [
        (&[], None),
        (&[("WATCHDOG_USEC", "20000000")], Some(20_000)),
        (
            &[("WATCHDOG_USEC", "20000000"), ("WATCHDOG_PID", &pid)],
            Some(20_000),
        ),
        (
            &[("WATCHDOG_USEC", "20000000"), ("WATCHDOG_PID", "1")],
            None,
        ),
        (
            &[("WATCHDOG_USEC", "20000000"), ("WATCHDOG_PID", "me")],
            None,
        ),
        (&[("WATCHDOG_USEC", "0")], None),
        (&[("WATCHDOG_USEC", "soon"), ("WATCHDOG_PID", &pid)], None),
    ];
    for (vars, timeout) in table {
        let mut vars: Vec<_> = vars.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
        vars.push(("NOTIFY_SOCKET", "/nowhere".to_owned()));
        let told = systemd(&vars).unwrap().unwrap();
        assert_eq!(told.watchdog_timeout(), timeout.map(ms), "{vars:?}");
    }
    assert!(
        systemd(&[("WATCHDOG_USEC", "20000000".to_owned())])
            .unwrap()
            .is_none()
    );
    for unknown in ["vsock:2:1234", "", "relative"] {
        let error = systemd(&[("NOTIFY_SOCKET", unknown.to_owned())]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{unknown}");
    }
}

#[test]
fn a_heartbeat_file_is_whole_at_every_moment_and_goes_stale() {
    let path = place("heartbeat");
    let bench = Bench::new();
    let file = HeartbeatFile::new(&path);
    let watchdog = bench.builder().heartbeat(file, secs(1)).start().unwrap();
    let kicker = watchdog.task("copy", secs(2)).unwrap();
    bench.until_tasks(&watchdog, 1);
    let beat = || {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let (pid, beat) = text.split_once('\n')?;
        assert_eq!(pid, format!("pid={}", std::process::id()), "{text}");
        let beat = beat.strip_prefix("beat=")?.strip_suffix('\n');
        Some(
            beat.unwrap_or_else(|| panic!("half of a file: {text}"))
                .parse::<u64>()
                .unwrap(),
        )
    };
    wait(|| beat() == Some(1));
    for _ in 0..9 {
        kicker.kick();
        bench.pass(secs(1));
        // One that comes before the thread of the last one has returned is left out.
        wait(|| beat() >= Some(watchdog.snapshot().beats));
    }
    assert!(beat() > Some(1), "{:?}", beat());
    bench.pass(secs(3));
    let stale = beat();
    bench.pass(secs(10));
    assert_eq!(beat(), stale);
    assert!(watchdog.snapshot().withheld >= 9);
    drop(watchdog);
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    let left = fs::read_dir(std::env::temp_dir()).unwrap().filter(|entry| {
        let other = entry.as_ref().unwrap().file_name();
        other.to_string_lossy().starts_with(&format!("{name}."))
    });
    assert_eq!(left.count(), 0, "a file is left beside it");
    fs::remove_file(path).unwrap();
}
