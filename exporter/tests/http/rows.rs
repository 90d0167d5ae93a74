//! Requests in a row, and more of them than can be remembered.

use std::thread;
use std::time::{Duration, Instant};

use crate::common::can_load;
use crate::pair::Pair;
use crate::{DURATION, GET, OK, agent, check};

#[test]
fn requests_in_a_row_are_timed_one_by_one() {
    if !can_load() {
        return;
    }
    const HELD_BACK: Duration = Duration::from_millis(20);
    let agent = agent(73, &["row"]);
    let mut pair = Pair::new(73, 2);
    let (mut least, began) = (0.0, Instant::now());
    for _ in 0..3 {
        pair.ask(&GET.repeat(4));
        for number in 0..4 {
            thread::sleep(HELD_BACK);
            least += HELD_BACK.as_secs_f64() * f64::from(number + 1);
            pair.answer(OK);
        }
    }
    let most = began.elapsed().as_secs_f64() * 4.0;
    check(&agent, "row", [12.0, 0.0, 0.0, 0.0, 0.0]);
    let page = agent.page();
    for reporter in ["client", "server"] {
        let label = ",status_class=\"2xx\"";
        let sum = page.edge_with(&format!("{DURATION}_sum"), ("web", "row"), reporter, label);
        // Each answer waits once more than the one before; the calls themselves take a moment.
        assert!((0.9 * least..most).contains(&sum), "{reporter}: {sum} s, of {least} to {most}");
    }
}

#[test]
fn more_than_can_be_remembered_are_counted_as_not_timed() {
    if !can_load() {
        return;
    }
    const UNTIMED: &str = "exporter_requests_untimed_total{protocol=\"http\",reason=\"pipelined\"}";
    let agent = agent(74, &["many"]);
    let before = agent.page();
    let mut pair = Pair::new(74, 2);
    // In calls of their own: eight are remembered, what follows is not timed until all are answered.
    for _ in 0..20 {
        pair.ask(GET);
    }
    for _ in 0..20 {
        pair.answer(OK);
    }
    pair.ask(GET);
    pair.answer(OK);
    check(&agent, "many", [9.0, 0.0, 0.0, 0.0, 0.0]);
    // Others of this machine may have more.
    assert!(agent.page().get(UNTIMED) - before.get(UNTIMED) >= 24.0);
}
