//! Counts agree along every edge, and nothing is left behind, however a run ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp, reason = "tests")]

#[allow(dead_code, reason = "shared with the other system tests")]
mod support;

use rustix::process::Signal;
use serde_json::Value;
use support::{Change, Claim, Shop, command, fresh, full, leftovers, namespaces_permitted, runs, small, soon};

/// What callers sent is what callees served. Processes take stock at slightly different times, so
/// two looks bound each other: what was sent at the first is served by the second, and what was
/// served at the first was sent by the second.
fn assert_conserved(first: &Value, second: &Value) -> usize {
    let mut edges = 0;
    let callers = first["services"].as_object().unwrap().iter().map(|(name, service)| (name.as_str(), service));
    for (caller, service) in callers.chain([("load-generator", &first["load"])]) {
        let later = if caller == "load-generator" { &second["load"] } else { &second["services"][caller] };
        for (callee, edge) in service["edges"].as_object().unwrap() {
            let sent = |edge: &Value| edge["requests"].as_f64().unwrap();
            let served = |stats: &Value| stats["services"][callee]["callers"][caller]["requests"].as_f64().unwrap();
            let (sent_first, sent_second) = (sent(edge), sent(&later["edges"][callee]));
            let (served_first, served_second) = (served(first), served(second));
            assert!(sent_first <= served_second, "{caller} -> {callee}: {sent_first} sent, {served_second} served");
            assert!(served_first <= sent_second, "{caller} -> {callee}: {served_first} served, {sent_second} sent");
            let ended = ["ok", "client_error", "server_error"].map(|class| edge["responses"][class].as_f64().unwrap());
            let under_way = sent_first - ended.iter().sum::<f64>();
            // The others are on their way or were given up, many of them where the machine is slow.
            assert!((0.0..=sent_first).contains(&under_way), "{caller} -> {callee}: {edge}");
            edges += 1;
        }
    }
    edges
}

/// Users are served without errors.
fn serves_users(change: &Change) -> Vec<Claim> {
    let (rate, errors) = (change.rate("/load/responses/ok"), change.user_errors());
    vec![(rate > 20.0 && errors == 0.0, format!("{rate} users served per second, share of errors {errors}"))]
}

fn shop_conserves_counts_and_cleans_up(isolation: &str, subnet: &str, name: &str) {
    let services_out = tempfile::NamedTempFile::new().unwrap();
    let out = services_out.path().to_str().unwrap();
    let mut shop = Shop::start_as(&full(), isolation, name, subnet, &["--services-out", out]);
    shop.observe(6.0, |watched| {
        let visited = |service: &String| {
            let rate = watched.rate(&format!("/services/{service}/requests"));
            (rate > 1.0, format!("{service} sees only {rate} requests/s"))
        };
        // That they all are, without errors, is judged at the small shop, which fits a machine without a core to spare.
        let served = watched.rate("/load/responses/ok");
        let mut claims: Vec<Claim> = watched.after["services"].as_object().unwrap().keys().map(visited).collect();
        claims.push((served > 1.0, format!("{served} users served per second")));
        claims
    });
    let (_, topology) = shop.ask("GET", "/topology", None);
    assert_eq!(topology["isolation"], isolation);
    let look = shop.watch(0.5);
    assert_eq!(assert_conserved(&look.before, &look.after), topology["edges"].as_array().unwrap().len());
    let yaml = std::fs::read_to_string(out).unwrap();
    for service in topology["services"].as_array().unwrap() {
        assert!(yaml.contains(&format!("- name: {}\n", service["name"].as_str().unwrap())));
        assert!(yaml.contains(&format!("- address: {}\n", service["address"].as_str().unwrap())));
    }
    let processes = shop.processes();
    assert_eq!(processes.len(), 17);
    shop.signal(Signal::TERM);
    assert_eq!(processes.into_iter().filter(|&id| runs(id)).count(), 0, "processes left");
    assert_eq!(leftovers(name), Vec::<std::path::PathBuf>::new());
}

#[test]
fn on_loopback_counts_agree_and_nothing_is_left() {
    let (name, subnet) = fresh();
    shop_conserves_counts_and_cleans_up("none", &subnet, &name);
}

#[test]
fn in_namespaces_counts_agree_and_nothing_is_left() {
    if !namespaces_permitted() {
        eprintln!("skipped: network namespaces are not permitted here");
        return;
    }
    // Ends of its cables and its bridge, if they were made here; other programs may come and go with theirs.
    let interfaces = || -> Vec<String> {
        let text = std::fs::read_to_string("/proc/net/dev").unwrap();
        let names = text.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()));
        names.filter(|name| name == "br0" || name == "eth0" || name.starts_with("port")).collect()
    };
    let before = interfaces();
    let (name, _) = fresh();
    shop_conserves_counts_and_cleans_up("netns", "198.18.7.0/24", &name);
    assert_eq!(interfaces(), before, "the root namespace has other interfaces than before");
}

#[test]
fn killed_supervisors_leave_no_service_and_the_next_run_cleans_up() {
    let (name, subnet) = fresh();
    let (isolation, subnet) =
        if namespaces_permitted() { ("netns", "198.18.8.0/24") } else { ("none", subnet.as_str()) };
    let mut shop = Shop::start_as(&small(), isolation, &name, subnet, &[]);
    let processes = shop.processes();
    assert_eq!(processes.len(), 6);
    shop.signal(Signal::KILL);
    soon("services end with their supervisor", || !processes.iter().any(|&id| runs(id)));

    let mut next = Shop::start_as(&small(), isolation, &name, subnet, &[]);
    assert!(next.greeting.contains("crashed run"), "{}", next.greeting);
    next.observe(1.0, serves_users);
    next.signal(Signal::INT);
    assert!(leftovers(&name).is_empty());
}

#[test]
fn a_name_in_use_is_refused_with_the_way_out() {
    let shop = Shop::start(&small());
    let (_, subnet) = fresh();
    let second = command(&small(), "none", &shop.name, &subnet).output().unwrap();
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(!second.status.success() && said.contains("--name") && said.contains(&shop.name), "{said}");
    // The same addresses under another name: a service cannot listen, and says so.
    let (other, _) = fresh();
    let third = command(&small(), "none", &other, &shop.subnet).output().unwrap();
    let said = String::from_utf8(third.stderr).unwrap();
    assert!(!third.status.success() && said.contains("cannot listen"), "{said}");
    assert!(leftovers(&other).is_empty());
    shop.observe(0.5, serves_users);
}

#[test]
fn a_service_that_dies_by_itself_comes_back() {
    let shop = Shop::start(&small());
    let leaf = shop.stats()["services"]["leaf"]["process"].as_u64().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(leaf).unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    soon("a new process", || shop.stats()["services"]["leaf"]["restarts"] == 1);
    shop.observe(1.0, |after| {
        let rate = after.rate("/services/leaf/requests");
        vec![(rate > 20.0, format!("{rate} requests/s"))]
    });
}
