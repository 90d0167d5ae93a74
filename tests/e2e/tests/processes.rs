//! Child processes: readiness, order of the end, and an end in any case.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use quoll_e2e::Error;
use quoll_e2e::process::{Program, Supervisor};

fn launcher() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_demo"))
}

fn shell(name: &'static str, script: &str) -> Program {
    Program::new(name, PathBuf::from("/bin/sh"), ["-c", script])
}

/// Waits for a file that a child writes, and reads it.
fn written(path: &std::path::Path) -> String {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match std::fs::read_to_string(path) {
            Ok(text) if text.ends_with('\n') => return text,
            _ if Instant::now() > deadline => panic!("{} was never written", path.display()),
            _ => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Whether a process is gone, or a zombie nobody waits for.
fn is_gone(pid: &str) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())) else { return true };
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
}

#[test]
fn processes_end_in_the_reverse_order_of_their_start() {
    let folder = tempfile::tempdir().unwrap();
    let order = folder.path().join("order");
    let mut supervisor = Supervisor::new(launcher(), folder.path().to_path_buf());
    for name in ["first", "second"] {
        let ready = folder.path().join(format!("{name}.ready"));
        let script = format!(
            "trap 'echo {name} >> {}; exit 0' TERM; echo up > {}; while :; do sleep 0.05; done",
            order.display(),
            ready.display()
        );
        supervisor.start(&shell(name, &script)).unwrap();
        supervisor
            .wait_ready(Duration::from_secs(60), || {
                std::fs::metadata(&ready).map(drop).map_err(Error::file(ready.clone()))
            })
            .unwrap();
    }
    supervisor.check().unwrap();
    drop(supervisor);
    assert_eq!(std::fs::read_to_string(order).unwrap(), "second\nfirst\n");
}

#[test]
fn a_process_that_ends_by_itself_is_reported_with_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut supervisor = Supervisor::new(launcher(), folder.path().to_path_buf());
    supervisor.start(&shell("short", "echo out of luck >&2; exit 3")).unwrap();
    let never = || Err(Error::Usage("not yet".to_owned()));
    let error = supervisor.wait_ready(Duration::from_secs(60), never).unwrap_err().to_string();
    assert!(error.contains("short ended by itself") && error.contains("short.log"), "{error}");
    assert_eq!(supervisor.get("short").unwrap().log_tail(5), "out of luck");
}

#[test]
fn children_do_not_survive_a_parent_that_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let pid_file = folder.path().join("pid");
    // A parent that starts a child through the launcher, and is then killed without a chance to clean up.
    let script = format!(
        "{} --exec-supervised $$ 0 /bin/sh -c 'echo $$ > {}; exec sleep 3600' & wait",
        launcher().display(),
        pid_file.display()
    );
    let mut parent = std::process::Command::new("/bin/sh").args(["-c", &script]).spawn().unwrap();
    let child = written(&pid_file);
    assert!(!is_gone(&child));
    parent.kill().unwrap();
    parent.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_gone(&child) {
        assert!(Instant::now() < deadline, "process {child} outlived its parent");
        std::thread::sleep(Duration::from_millis(10));
    }
}
