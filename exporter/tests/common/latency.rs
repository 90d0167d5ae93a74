//! Latencies as the kernel has them against those of two witnesses.
//!
//! What an end times of a request contains what the server holds it back for, and is contained in what its client takes
//! for it. So are the quantiles, and what a busy machine adds, it adds to the client's own time as well. Requests are
//! held back by times within a bucket, far from its bounds: on a machine at rest all three lie in the same one.

use super::nginx::Wrk;
use super::{Agent, Page, bucket_of};

/// Requests are held back for so many seconds in turn.
pub const HELD_BACK: [f64; 3] = [0.0, 0.02, 0.06];
/// Paths of [`super::nginx::LATE`] where requests are.
pub const PATHS: [&str; 3] = ["/", "/late", "/later"];

/// Of the time that a request is held back, an end surely sees so much: a server counts from when it last looked at its
/// clock, and a client's call may end a while after its bytes went.
const SURELY: f64 = 0.75;
const QUANTILES: [f64; 6] = [0.1, 0.25, 0.5, 0.75, 0.9, 0.99];

/// Seconds of some requests by both witnesses.
#[derive(Default)]
pub struct Times {
    held_back: Vec<f64>,
    witnessed: Vec<f64>,
}

impl Times {
    /// One that its server held back for so long, and its client saw answered after so long.
    pub fn add(&mut self, held_back: f64, witnessed: f64) {
        self.held_back.push(held_back);
        self.witnessed.push(witnessed);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.witnessed.len()
    }

    /// Fails where a quantile of the requests that came since `before` is none of theirs, at either end, or where they
    /// are not as many. The labels are those of the metric without `reporter`, as in the page.
    pub fn assert_agree(mut self, agent: &Agent, before: &Page, metric: &str, labels: &[&str]) {
        for seconds in [&mut self.held_back, &mut self.witnessed] {
            seconds.sort_unstable_by(f64::total_cmp);
        }
        let all = self.count();
        let page = agent.page_with_requests(before, metric, labels, all as f64);
        for reporter in REPORTERS {
            let labels = [labels, &[reporter]].concat();
            assert_eq!(page.grown(before, &format!("{metric}_count"), &labels), all as f64, "{labels:?}");
            for quantile in QUANTILES {
                let rank = (quantile * all as f64).ceil() as usize - 1;
                let seen = page.bucket_of_quantile(before, metric, &labels, quantile);
                let name = format!("{reporter}, quantile {quantile}");
                assert_agrees(&name, seen, self.held_back[rank], self.witnessed[rank]);
            }
        }
    }
}

/// Fails where a quantile is none of wrk's, whose requests came since `before`, all held back for as long.
pub fn assert_wrk_agrees(agent: &Agent, before: &Page, metric: &str, labels: &[&str], wrk: &Wrk, held_back: f64) {
    assert!(!wrk.quantiles.is_empty(), "wrk gives no quantiles");
    // What was under way when it stopped it did not count, and may not have been answered.
    let page = agent.page_with_requests(before, metric, labels, wrk.requests - wrk.connections as f64);
    for (quantile, seconds) in &wrk.quantiles {
        for reporter in REPORTERS {
            let seen = page.bucket_of_quantile(before, metric, &[labels, &[reporter]].concat(), *quantile);
            assert_agrees(&format!("{reporter}, wrk's quantile {quantile}"), seen, held_back, *seconds);
        }
    }
}

/// Labels of the two ends.
pub const REPORTERS: [&str; 2] = ["reporter=\"client\"", "reporter=\"server\""];

/// Fails where a quantile, of which the bucket was seen, is more than a bucket above the client's, or below what requests
/// were held back for.
pub fn assert_agrees(name: &str, seen: usize, held_back: f64, witnessed: f64) {
    let said = format!("{name}: bucket {seen}, {witnessed} s witnessed, {held_back} s of it held back");
    println!("{said}");
    assert!((bucket_of(SURELY * held_back)..=bucket_of(witnessed) + 1).contains(&seen), "{said}");
}

impl Agent {
    /// The first page on which both ends have counted so many requests with these labels since `before`.
    pub fn page_with_requests(&self, before: &Page, metric: &str, labels: &[&str], count: f64) -> Page {
        let metric = format!("{metric}_count");
        self.page_at_last(|page| {
            REPORTERS.iter().all(|reporter| page.grown(before, &metric, &[labels, &[*reporter]].concat()) >= count)
        })
    }
}
