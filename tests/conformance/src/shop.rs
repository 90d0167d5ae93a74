//! A small shop as an exporter sees it, well and in trouble.

use crate::now_ms;
use crate::scorer::Labels;

/// The second at which most calls of `front` begin to fail and its memory to grow ...
pub const FAULT_AT: i64 = 90;
/// ... for so many seconds; after that `store` is taken away.
pub const FAULT_SECONDS: i64 = 60;

/// What an exporter says of three services at one second: memory of each, and requests from one to the next.
#[must_use]
pub fn shop(second: i64, timestamp_ms: i64) -> Vec<(Labels, i64, f64)> {
    let names = ["front", "cart", "store"];
    let label = |name: &'static str, value: &str| (name, value.to_owned());
    let memory = names.iter().enumerate().map(|(index, service)| {
        let value = 1e8 + ((second * 31 + index as i64 * 7) % 97) as f64 * 1e5;
        (vec![label("__name__", "quoll_memory_working_set_bytes"), label("service_name", service)], timestamp_ms, value)
    });
    let calls = names.windows(2).flat_map(|pair| {
        ["2xx", "5xx"].map(|class| {
            let rate = if class == "2xx" { 50 } else { 1 };
            let labels = vec![
                label("__name__", "quoll_http_request_duration_seconds_count"),
                label("client", pair[0]),
                label("reporter", "client"),
                label("server", pair[1]),
                label("status_class", class),
            ];
            (labels, timestamp_ms, (second * rate + second * second % 7) as f64)
        })
    });
    memory.chain(calls).collect()
}

/// The shop at one second, with the fault from [`FAULT_AT`] on.
#[must_use]
pub fn failing_shop(second: i64, timestamp_ms: i64) -> Vec<(Labels, i64, f64)> {
    let mut series = shop(second, timestamp_ms);
    let failing = (second - FAULT_AT).clamp(0, FAULT_SECONDS);
    for (labels, _, value) in &mut series {
        let has = |name: &str, wanted: &str| labels.iter().any(|(label, value)| *label == name && value == wanted);
        if has("status_class", "5xx") && has("client", "front") {
            *value += (failing * 60) as f64;
        }
        if has("__name__", "quoll_memory_working_set_bytes") && has("service_name", "front") {
            *value += (failing * (FAULT_AT + FAULT_SECONDS - second).max(0)) as f64 * 1e7;
        }
    }
    if second > FAULT_AT + FAULT_SECONDS {
        series.retain(|(labels, _, _)| !labels.iter().any(|(_, value)| value == "store"));
    }
    series
}

/// The shop as a scrape shows it.
#[must_use]
pub fn exposition() -> String {
    let mut text = String::new();
    for (labels, _, value) in shop(now_ms() / 1000 % 1000, 0) {
        let rest: Vec<String> = labels[1..].iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        text.push_str(&format!("{}{{{}}} {value}\n", labels[0].1, rest.join(",")));
    }
    text
}
