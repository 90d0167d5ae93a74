//! Requests to databases against independent witnesses: the load generators that come with PostgreSQL and Redis, and
//! statements to MariaDB counted by their sender.
//!
//! Counts must agree within 0.1 %, statuses with what was asked for, quantiles of latency within one bucket of what
//! `pgbench`, `redis-benchmark` and the client of MariaDB took themselves. A witness that is not installed is
//! skipped by name; `scripts/setup` installs them all.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::latency::{HELD_BACK, REPORTERS, Times, assert_agrees};
use common::nginx::certificate;
use common::witness::{Running, free_port, services, untimed, wait_for, witness};
use common::{Agent, Page, can_load, connect, loopback, wait_until};
use quoll_exporter::agent::SourceChoice;
use quoll_exporter::kernel::Settings;
use quoll_exporter::tls::TlsChoice;

const DURATION: &str = "db_request_duration_seconds";
/// Requests whose times are compared.
const PROBES: usize = 60;

fn count(page: &Page, client: &str, reporter: &str, system: &str, status: &str) -> f64 {
    let labels = format!(",system=\"{system}\",status=\"{status}\"");
    page.edge_with("db_request_duration_seconds_count", (client, "db"), reporter, &labels)
}

/// Of one status, from all clients, as the server sees them.
fn served(page: &Page, system: &str, status: &str) -> f64 {
    ["load", "probe", "db", "unknown"].iter().map(|client| count(page, client, "server", system, status)).sum()
}

fn assert_within(name: &str, seen: f64, witnessed: f64) {
    let difference = (seen - witnessed).abs() / witnessed;
    assert!(difference <= 0.001, "{name}: {seen} against {witnessed}, {:.4} % apart", 100.0 * difference);
}

#[test]
fn redis_requests_agree_with_redis_benchmark_pipelined_or_not() {
    if !can_load() {
        return;
    }
    let (Some(server), Some(benchmark)) = (witness("redis-server"), witness("redis-benchmark")) else { return };
    let address = SocketAddr::from((loopback(51, 2), free_port(loopback(51, 2))));
    let agent = Agent::start(SourceChoice::Ebpf, &services(51));
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let _server = Running(
        Command::new(server)
            .args(["--port", &port, "--bind", &host, "--save", "", "--appendonly", "no", "--protected-mode", "no"])
            .args(["--enable-debug-command", "yes"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap(),
    );
    wait_for(address);
    let run = |tests: &str, pipeline: u32, requests: u32| {
        let run = Command::new(&benchmark)
            .args(["-h", &host, "-p", &port, "-c", "4", "-q", "-t", tests])
            .args(["-n", &requests.to_string(), "-P", &pipeline.to_string()])
            .stdout(Stdio::null())
            .status();
        assert!(run.unwrap().success());
        f64::from(requests)
    };
    // The test of LRANGE fills its list by as many LPUSH before.
    let mut asked = 7.0 * run("ping_inline,set,get,incr,lpush,lrange_100", 1, 4000);
    asked += 5.0 * run("ping_inline,set,get,incr,lpush", 16, 16_000);
    let page = agent.page_at_last(|page| served(page, "redis", "ok") >= asked);
    assert_within("requests", served(&page, "redis", "ok"), asked);
    assert_eq!(untimed(&page, "redis"), 0.0);

    // 16 lists of 100 in one piece are more than is followed: what is not timed is counted.
    asked += 2.0 * run("lrange_100", 16, 4000);
    let all = |page: &Page| {
        let timed: f64 = ["load", "unknown"].iter().map(|client| count(page, client, "client", "redis", "ok")).sum();
        served(page, "redis", "ok") + timed + untimed(page, "redis")
    };
    let page = agent.page_at_last(|page| all(page) >= 2.0 * asked);
    assert_within("requests at both ends, timed or not", all(&page), 2.0 * asked);
    assert!(untimed(&page, "redis") > 0.0);
    assert_eq!(page.get("exporter_connections_unparsed_total{protocol=\"redis\",reason=\"lost\"}"), 0.0);

    let mut probe = connect(loopback(51, 1), address).unwrap();
    let mut answer = [0; 512];
    for command in ["*2\r\n$3\r\nGET\r\n$4\r\nnone\r\n", "*1\r\n$4\r\nNOPE\r\n", "*2\r\n$4\r\nINCR\r\n$6\r\nmylist\r\n"]
    {
        probe.write_all(command.as_bytes()).unwrap();
        assert!(probe.read(&mut answer).unwrap() > 0);
    }
    for reporter in ["client", "server"] {
        let page = agent.page_at_last(|page| count(page, "probe", reporter, "redis", "error") == 2.0);
        assert_eq!(count(&page, "probe", reporter, "redis", "ok"), 1.0, "{reporter}");
        assert_eq!(count(&page, "probe", reporter, "redis", "error"), 2.0, "{reporter}");
    }
    latencies_agree_with_redis_benchmark(&agent, &benchmark, address);
}

/// Commands that take a known time, one after the other.
fn latencies_agree_with_redis_benchmark(agent: &Agent, benchmark: &Path, address: SocketAddr) {
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let labels = ["server=\"db\"", "system=\"redis\"", "status=\"ok\""];
    for seconds in &HELD_BACK[1..] {
        let before = agent.page();
        let count = PROBES / HELD_BACK.len();
        let output = Command::new(benchmark)
            .args(["-h", &host, "-p", &port, "-c", "1", "--csv", "-n", &count.to_string()])
            .args(["debug", "sleep", &seconds.to_string()])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.trim_matches('"').split("\",\"").collect()).collect();
        let [names, values] = &rows[..] else { panic!("{text}") };
        let page = agent.page_with_requests(&before, DURATION, &labels, count as f64);
        // Beyond these, it asks for the server's configuration once.
        for (quantile, name) in [(0.5, "p50_latency_ms"), (0.95, "p95_latency_ms"), (0.99, "p99_latency_ms")] {
            let place = names.iter().position(|other| *other == name).unwrap_or_else(|| panic!("{text}"));
            let witnessed = values[place].parse::<f64>().unwrap() / 1e3;
            for reporter in REPORTERS {
                let seen = page.bucket_of_quantile(&before, DURATION, &[&labels[..], &[reporter]].concat(), quantile);
                assert_agrees(&format!("redis, {reporter}, {name}"), seen, *seconds, witnessed);
            }
        }
    }
}

/// A PostgreSQL server of its own; as root, it runs as nobody, as it must not be root's.
struct Postgres {
    _running: Running,
    folder: tempfile::TempDir,
    address: SocketAddr,
    tls: bool,
}

impl Postgres {
    /// With `tls`, it has a key and a certificate, and clients want TLS.
    fn start(ip: Ipv4Addr, tls: bool) -> Option<Self> {
        let (initdb, server) = (witness("initdb")?, witness("postgres")?);
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(folder.path(), Some(65_534), Some(65_534)).unwrap();
        let data = folder.path().join("data");
        let as_nobody = |program: &PathBuf| {
            use std::os::unix::process::CommandExt;
            let mut command = Command::new(program);
            command.uid(65_534).gid(65_534).current_dir(folder.path()).env("HOME", folder.path());
            command
        };
        let made = as_nobody(&initdb)
            .args(["--auth=trust", "--username=probe", "--no-sync", "--locale=C", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success());
        certificate(folder.path());
        let key = folder.path().join("key");
        std::os::unix::fs::chown(&key, Some(65_534), Some(65_534)).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        let files = ["key", "cert"].map(|name| {
            let file = folder.path().join(if name == "key" { "key" } else { "certificate" });
            format!("ssl_{name}_file={}", file.display())
        });
        let address = SocketAddr::from((ip, free_port(ip)));
        let running = as_nobody(&server)
            .args(files.iter().flat_map(|file| ["-c", file]))
            .args([
                "-c",
                "fsync=off",
                "-c",
                if tls { "ssl=on" } else { "ssl=off" },
                "-k",
                "",
                "-h",
                &ip.to_string(),
                "-p",
                &address.port().to_string(),
            ])
            .arg("-D")
            .arg(&data)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Self { _running: Running(running), folder, address, tls };
        let mut asking = Command::new(witness("pg_isready")?);
        asking.args(["-q", "-h", &ip.to_string(), "-p", &address.port().to_string()]);
        // It listens before it lets anybody in.
        wait_until("PostgreSQL lets clients in", || asking.status().unwrap().success());
        Some(started)
    }

    fn client(&self, program: &str) -> Option<Command> {
        let mut command = Command::new(witness(program)?);
        command
            .args(["-h", &self.address.ip().to_string(), "-p", &self.address.port().to_string(), "-U", "probe"])
            .env("PGSSLMODE", if self.tls { "require" } else { "disable" })
            .env("PGGSSENCMODE", "disable")
            .current_dir(self.folder.path());
        Some(command)
    }
}

#[test]
fn postgresql_requests_agree_with_pgbench_simple_and_prepared() {
    if !can_load() {
        return;
    }
    let agent = Agent::start(SourceChoice::Ebpf, &services(52));
    let Some(postgres) = Postgres::start(loopback(52, 2), false) else { return };
    let Some(mut psql) = postgres.client("psql") else { return };
    let script = postgres.folder.path().join("one.sql");
    std::fs::write(&script, "select count(*) from generate_series(1, 100);\n").unwrap();
    const EACH: u32 = 2000;
    let mut asked = 0.0;
    for mode in ["simple", "extended", "prepared"] {
        let ended = postgres
            .client("pgbench")
            .unwrap()
            .args(["-n", "-c", "2", "-t", &EACH.to_string(), "-M", mode, "-f"])
            .arg(&script)
            .arg("postgres")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(ended.success(), "pgbench {mode}");
        asked += f64::from(2 * EACH);
    }
    let page = agent.page_at_last(|page| served(page, "postgresql", "ok") >= asked);
    let seen = served(&page, "postgresql", "ok");
    assert_within("requests", seen, asked);
    assert_eq!(served(&page, "postgresql", "error"), 0.0);

    // Bad, then good, on one connection; rows without end, with an error after many of them.
    let _ = psql
        .args(["-X", "-q", "-d", "postgres", "-o", "/dev/null"])
        .args(["-c", "select nope"])
        .args(["-c", "select 1"])
        .args(["-c", "select * from generate_series(1, 20000)"])
        .args(["-c", "select 1 / (5000 - g) from generate_series(1, 10000) g"])
        .stderr(Stdio::null())
        .status()
        .unwrap();
    let page = agent.page_at_last(|page| served(page, "postgresql", "error") >= 2.0);
    assert_eq!(served(&page, "postgresql", "error"), 2.0);
    assert_eq!(served(&page, "postgresql", "ok") - seen, 2.0);
    let lost = "exporter_connections_unparsed_total{protocol=\"postgresql\",reason=\"lost\"}";
    assert_eq!(page.get(lost), 0.0);
    latencies_agree_with_pgbench(&agent, &postgres);
}

/// Statements that take a known time, drawn by pgbench, which writes down which it was and how long it took.
fn latencies_agree_with_pgbench(agent: &Agent, postgres: &Postgres) {
    let folder = postgres.folder.path();
    let mut pgbench = postgres.client("pgbench").unwrap();
    pgbench.args(["-n", "-c", "2", "-t", &(PROBES / 2).to_string(), "--log", "--log-prefix=times"]);
    for (kind, seconds) in HELD_BACK.iter().enumerate() {
        let script = folder.join(format!("sleep{kind}.sql"));
        std::fs::write(&script, format!("select pg_sleep({seconds});\n")).unwrap();
        pgbench.arg("-f").arg(script);
    }
    let before = agent.page();
    let ended = pgbench.arg("postgres").stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(ended.success(), "pgbench with a log");
    let logs = std::fs::read_dir(folder).unwrap().flatten();
    let logs = logs.filter(|file| file.file_name().to_string_lossy().starts_with("times"));
    let text: String = logs.map(|file| std::fs::read_to_string(file.path()).unwrap()).collect();
    let mut times = Times::default();
    for line in text.lines() {
        // client, transaction, microseconds, script, when
        let numbers: Vec<usize> = line.split(' ').map(|word| word.parse().unwrap()).collect();
        times.add(HELD_BACK[numbers[3]], numbers[2] as f64 / 1e6);
    }
    assert_eq!(text.lines().count(), PROBES, "{text}");
    times.assert_agree(agent, &before, DURATION, &["server=\"db\"", "system=\"postgresql\""]);
}

#[test]
fn postgresql_requests_within_tls_agree_with_pgbench() {
    if !can_load() {
        return;
    }
    let agent =
        Agent::start_with(SourceChoice::Ebpf, &services(56), Settings { tls: TlsChoice::True, ..Settings::default() });
    let Some(postgres) = Postgres::start(loopback(56, 2), true) else { return };
    let Some(mut psql) = postgres.client("psql") else { return };
    let script = postgres.folder.path().join("one.sql");
    std::fs::write(&script, "select count(*) from generate_series(1, 100);\n").unwrap();
    const EACH: u32 = 500;
    let mut asked = 0.0;
    for mode in ["simple", "prepared"] {
        let mut pgbench = postgres.client("pgbench").unwrap();
        let pgbench = pgbench.args(["-n", "-c", "2", "-t", &EACH.to_string(), "-M", mode, "-f"]).arg(&script);
        let ended = pgbench.arg("postgres").stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(ended.success(), "pgbench {mode}");
        asked += f64::from(2 * EACH);
    }
    let _ = psql.args(["-X", "-q", "-d", "postgres", "-c", "select nope"]).stderr(Stdio::null()).status().unwrap();
    let page = agent.page_at_last(|page| served(page, "postgresql", "ok") >= asked);
    assert_within("requests", served(&page, "postgresql", "ok"), asked);
    let page = agent.page_at_last(|page| served(page, "postgresql", "error") >= 1.0);
    assert_eq!(served(&page, "postgresql", "error"), 1.0);
    // Each connection began in plain, and nothing of it was given up.
    for reason in ["encrypted", "lost"] {
        let unparsed = format!("exporter_connections_unparsed_total{{protocol=\"postgresql\",reason=\"{reason}\"}}");
        assert_eq!(page.get(&unparsed), 0.0, "{reason}");
    }
    latencies_agree_with_pgbench(&agent, &postgres);
}

#[test]
fn mysql_requests_agree_with_what_mariadb_was_asked() {
    if !can_load() {
        return;
    }
    let tools = ["mariadb-install-db", "mariadbd", "mariadb"].map(witness);
    let [Some(install), Some(server), Some(client)] = tools else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = format!("--datadir={}", folder.path().join("data").display());
    let made = Command::new(install)
        .args(["--no-defaults", "--user=root", "--auth-root-authentication-method=normal", "--skip-test-db", &data])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    let address = SocketAddr::from((loopback(54, 2), free_port(loopback(54, 2))));
    let agent = Agent::start(SourceChoice::Ebpf, &services(54));
    let (host, port) = (format!("--bind-address={}", address.ip()), format!("--port={}", address.port()));
    let socket = format!("--socket={}", folder.path().join("s").display());
    let _server = Running(
        Command::new(server)
            .args(["--no-defaults", "--user=root", "--skip-name-resolve", "--skip-grant-tables", "--skip-networking=0"])
            .args([&data, &host, &port, &socket])
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    wait_for(address);
    const GOOD: usize = 1000;
    let script = folder.path().join("script.sql");
    // Small answers and those of several calls; one that fails among them.
    let good = |number| if number % 10 == 0 { "select repeat('x', 20000);\n" } else { "select 1;\n" };
    let text: String = (0..GOOD).map(good).collect();
    let run = |text: &str| {
        std::fs::write(&script, text).unwrap();
        let output = Command::new(&client)
            .args(["--no-defaults", "-f", "-vvv", "-uroot", "--skip-ssl", "-h", &address.ip().to_string(), &port])
            .stdin(std::fs::File::open(&script).unwrap())
            .stderr(Stdio::null())
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    run(&text.replacen("select 1;", "select * from no.where;\nselect 1;", 1));
    let page = agent.page_at_last(|page| served(page, "mysql", "ok") >= GOOD as f64);
    assert_eq!((served(&page, "mysql", "ok"), served(&page, "mysql", "error")), (GOOD as f64, 1.0));
    assert_eq!(untimed(&page, "mysql"), 0.0);

    let before = agent.page();
    let text: String = (0..PROBES).map(|number| format!("select sleep({});\n", HELD_BACK[number % 3])).collect();
    let said = run(&text);
    let seconds =
        said.lines().filter_map(|line| line.split_once(" set (")?.1.strip_suffix(" sec)")?.parse::<f64>().ok());
    let mut times = Times::default();
    // Which are rounded to milliseconds.
    seconds.enumerate().for_each(|(number, seconds)| times.add(HELD_BACK[number % 3], seconds + 0.0005));
    assert_eq!(times.count(), PROBES, "{said}");
    times.assert_agree(&agent, &before, DURATION, &["server=\"db\"", "system=\"mysql\""]);
}
