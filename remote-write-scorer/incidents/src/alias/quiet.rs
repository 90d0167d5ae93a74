//! Whether two names are one component, from calm times.
//!
//! Two names of one component see the **same requests**: as many in each block of steps, and as fast, with the
//! same ups and downs. Two services that merely have the same load do not. What is weighed, each as a natural
//! logarithm of a likelihood ratio, "the same requests" over "others":
//! - **Traffic.** The difference of two counts of the same requests stays within what crosses the ends of a
//!   block (two sources are read at different moments) and half a per cent; that of two services with the same
//!   rate has at least the variance of two Poisson counts.
//! - **Latency.** A caller that calls two services once each gives them equal traffic for ever, so equal traffic
//!   alone proves nothing. But then the latencies move by themselves. From block to block, the change of the mean
//!   latency of the same requests is the same in seconds, whatever a proxy adds to each; that of different ones,
//!   even where most of it has a common cause, is not ([`ALIKE`], [`OTHERS`]).
//!
//! Both must be sure by themselves: [`SURE_TRAFFIC`], [`SURE_LATENCY`]. A caller and its callee, however alike, are
//! never compared: whoever has a path of calls to the other is not its other name.
//!
//! # Cost
//! A stream's history is one byte: in which of the last eight blocks it was more than in the one before. Streams of the same
//! requests agree in it, so only those with the same byte and nearly the same rate are compared closely: sorting
//! finds them. At most [`WATCHED`] pairs are compared, each once a block.

use quoll_identity::Service;
use serde::{Deserialize, Serialize};

use crate::stored::{bits, service};

/// Steps of a block.
pub(crate) const BLOCK_STEPS: u64 = 8;
/// Blocks that a stream's byte holds; candidates are looked for as often.
pub(crate) const SIGNATURE_BLOCKS: u8 = 8;
/// Requests of a block below which nothing is compared.
const LEAST_REQUESTS: f64 = 40.0;
/// Forgetting of a stream's mean per block.
const MEAN_FORGETTING: f64 = 1.0 / 8.0;
/// How far the rates of candidates may lie apart.
const RATES_APART: f64 = 0.1;
/// Candidates of one name at a time, nearest rates first, and pairs compared at most.
const CANDIDATES: usize = 4;
const LOOKED_AT: usize = 32;
pub(crate) const WATCHED: usize = 2_000;

/// Relative error of two counts of the same requests (retries, lost reports).
const MISCOUNT: f64 = 0.005;
/// Variance of the difference between the changes of two latencies, in units of the variance of either change:
/// of the same requests, and of others of which most (0.7) has a common cause.
const ALIKE: f64 = 0.0625;
const OTHERS: f64 = 2.0 * (1.0 - 0.7);
/// Changes of latency below this share of it are the noise of its measurement.
const LEAST_CHANGE: f64 = 0.005;
/// Forgetting of the variance of changes per block, and blocks before it is known.
const VARIANCE_FORGETTING: f64 = 1.0 / 50.0;
const WARM_UP_BLOCKS: f64 = 10.0;
/// What one block can say: a lucky one little, an odd one not everything.
const BLOCK_BOUNDS: (f64, f64) = (-3.0, 1.0);
/// Bounds of what all of them say, so that it is never too late to see better.
const BOUNDS: (f64, f64) = (-10.0, 20.0);
/// A hundred to one that they are the same requests rather than chance ...
const SURE_TRAFFIC: f64 = 4.6;
/// ... and a million to one rather than two services that one caller calls alike: these are far more common than other
/// names, and get another chance to look the same in every block.
const SURE_LATENCY: f64 = 14.0;
/// Below this, what was sure is no longer.
const DOUBTFUL: f64 = 2.3;
/// Below this they are different.
const DIFFERENT: f64 = -6.0;
/// A pair of which one has not been seen for so long is forgotten.
const FORGOTTEN_MS: i64 = 86_400_000;

/// What was sent to one name, or along one edge, in the block so far; and in which blocks it grew.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stream {
    #[serde(with = "bits")]
    requests: f64,
    /// Requests of known latency, and the sum of their latencies in seconds.
    #[serde(with = "bits")]
    timed: f64,
    #[serde(with = "bits")]
    seconds: f64,
    /// Something was wrong during the block.
    odd: bool,
    /// Requests of a block, smoothed.
    #[serde(with = "bits")]
    mean: f64,
    /// Requests of the block before.
    #[serde(with = "bits")]
    before: f64,
    /// One bit per block, the newest lowest: whether it was more than the one before.
    grew: u8,
    /// Blocks in `grew`.
    blocks: u8,
}

impl Stream {
    /// Adds a step's calls; ones that are no numbers are none.
    pub(crate) fn add(&mut self, requests: f64, latency_seconds: f64) {
        if !(requests > 0.0 && requests.is_finite()) {
            return;
        }
        self.requests += requests;
        if latency_seconds > 0.0 && latency_seconds.is_finite() {
            self.timed += requests;
            self.seconds += requests * latency_seconds;
        }
    }

    /// This block is not to be compared: in trouble, what has one cause is as slow as what is one.
    pub(crate) fn spoil(&mut self) {
        self.odd = true;
    }

    /// Steps are missing: the block does not count, nor does what was before it.
    pub(crate) fn interrupt(&mut self) {
        *self = Self { odd: true, mean: self.mean, ..Self::default() };
    }

    pub(crate) fn is_odd(&self) -> bool {
        self.odd
    }

    /// Begins a new block.
    pub(crate) fn close(&mut self) {
        self.grew = self.grew << 1 | u8::from(self.requests > self.before);
        self.before = self.requests;
        self.blocks = (self.blocks + 1).min(SIGNATURE_BLOCKS);
        let weight = if self.mean > 0.0 { MEAN_FORGETTING } else { 1.0 };
        self.mean += weight * (self.requests - self.mean);
        (self.requests, self.timed, self.seconds, self.odd) = (0.0, 0.0, 0.0, false);
    }

    /// What tells this stream from others, once there is enough of it: neither only growth nor only decline.
    fn signature(&self) -> Option<u8> {
        let varied = (2..=6).contains(&self.grew.count_ones());
        (self.blocks >= SIGNATURE_BLOCKS && varied && self.mean >= LEAST_REQUESTS).then_some(self.grew)
    }

    fn latency(&self) -> Option<f64> {
        (self.timed >= 0.5 * self.requests && self.timed > 0.0).then(|| self.seconds / self.timed)
    }
}

/// A name and what it may be a name of, compared block by block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pair {
    #[serde(with = "service")]
    pub(crate) name: Service,
    #[serde(with = "service")]
    pub(crate) of: Service,
    /// The caller whose calls alone are compared, where `of` has others too.
    pub(crate) caller: Option<Service>,
    pub(crate) sure: bool,
    #[serde(with = "bits")]
    traffic: f64,
    #[serde(with = "bits")]
    latency: f64,
    /// Latencies of the block before; 0 where unknown.
    #[serde(with = "bits")]
    before: f64,
    #[serde(with = "bits")]
    before_of: f64,
    /// Variance of the changes from block to block, and how many it is made of.
    #[serde(with = "bits")]
    variance: f64,
    #[serde(with = "bits")]
    changes: f64,
    pub(crate) compared_ms: i64,
}

impl Pair {
    pub(crate) fn new(name: Service, of: Service, caller: Option<Service>, now_ms: i64) -> Self {
        Self {
            name,
            of,
            caller,
            sure: false,
            traffic: 0.0,
            latency: 0.0,
            before: 0.0,
            before_of: 0.0,
            variance: 0.0,
            changes: 0.0,
            compared_ms: now_ms,
        }
    }

    /// How sure it is, for choosing between several.
    pub(crate) fn weight(&self) -> f64 {
        self.latency + self.traffic
    }

    pub(crate) fn is_hopeless(&self, now_ms: i64) -> bool {
        self.traffic <= DIFFERENT || self.latency <= DIFFERENT || now_ms - self.compared_ms > FORGOTTEN_MS
    }

    /// Takes in a block of both.
    pub(crate) fn compare(&mut self, name: &Stream, of: &Stream, now_ms: i64) {
        let (before, before_of) = (self.before, self.before_of);
        (self.before, self.before_of) = (0.0, 0.0);
        if name.odd || of.odd {
            return;
        }
        if name.requests.max(of.requests) < LEAST_REQUESTS {
            return;
        }
        self.compared_ms = now_ms;
        add(&mut self.traffic, same_traffic(name.requests, of.requests));
        if let (Some(latency), Some(latency_of)) = (name.latency(), of.latency()) {
            (self.before, self.before_of) = (latency, latency_of);
            let (change, change_of) = (latency - before, latency_of - before_of);
            if before > 0.0 && before_of > 0.0 {
                self.changes += 1.0;
                let weight = (1.0 / self.changes).max(VARIANCE_FORGETTING);
                let square = 0.5 * (change * change + change_of * change_of);
                self.variance += weight * (square - self.variance);
                let floor = LEAST_CHANGE * latency.min(latency_of);
                if self.changes > WARM_UP_BLOCKS && self.variance > floor * floor {
                    add(&mut self.latency, same_latency(change - change_of, self.variance));
                }
            }
        }
        let (traffic, latency) = if self.sure { (DOUBTFUL, DOUBTFUL) } else { (SURE_TRAFFIC, SURE_LATENCY) };
        self.sure = self.traffic >= traffic && self.latency >= latency;
    }
}

fn add(sum: &mut f64, block: f64) {
    *sum = (*sum + block.clamp(BLOCK_BOUNDS.0, BLOCK_BOUNDS.1)).clamp(BOUNDS.0, BOUNDS.1);
}

/// Two normal distributions of the same difference.
fn ratio(difference: f64, alike: f64, others: f64) -> f64 {
    0.5 * (libm::log(others / alike) - difference * difference * (1.0 / alike - 1.0 / others))
}

fn same_traffic(a: f64, b: f64) -> f64 {
    let mean = 0.5 * (a + b);
    let alike = mean / BLOCK_STEPS as f64 + (MISCOUNT * mean) * (MISCOUNT * mean) + 1.0;
    ratio(a - b, alike, alike + a + b)
}

fn same_latency(difference: f64, variance: f64) -> f64 {
    ratio(difference, ALIKE * variance, OTHERS * variance)
}

/// A stream that may be one of another's: whose, by the caller's numbers, and whether it is a name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Candidate {
    signature: u8,
    mean: f64,
    /// The service it leads to.
    pub(crate) server: usize,
    /// The edge, where it is not all that leads there.
    pub(crate) edge: Option<usize>,
    pub(crate) is_name: bool,
}

impl Candidate {
    /// `None` while the stream cannot be told from others.
    pub(crate) fn new(stream: &Stream, server: usize, edge: Option<usize>, is_name: bool) -> Option<Self> {
        Some(Self { signature: stream.signature()?, mean: stream.mean, server, edge, is_name })
    }
}

/// Names, each with those that may be the same, nearest first.
pub(crate) fn candidates(mut streams: Vec<Candidate>) -> Vec<(Candidate, Candidate)> {
    streams.sort_by(|a, b| {
        (a.signature.cmp(&b.signature))
            .then(a.mean.total_cmp(&b.mean))
            .then((a.server, a.edge).cmp(&(b.server, b.edge)))
    });
    let mut found = Vec::new();
    for (at, name) in streams.iter().enumerate().filter(|(_, stream)| stream.is_name) {
        let near = |other: &&Candidate| {
            other.signature == name.signature && (other.mean - name.mean).abs() <= RATES_APART * name.mean
        };
        // Nearest rates on either side, past a few other names.
        let below = streams[..at].iter().rev().take(LOOKED_AT).take_while(near);
        let above = streams[at + 1..].iter().take(LOOKED_AT).take_while(near);
        let (below, above) = (below.filter(|other| !other.is_name), above.filter(|other| !other.is_name));
        let (below, above) = (below.take(CANDIDATES), above.take(CANDIDATES));
        let mut around: Vec<&Candidate> = below.chain(above).collect();
        around.sort_by(|a, b| {
            let distance = |other: &Candidate| (other.mean - name.mean).abs();
            distance(a).total_cmp(&distance(b)).then((a.server, a.edge).cmp(&(b.server, b.edge)))
        });
        found.extend(around.into_iter().take(CANDIDATES).map(|other| (*name, *other)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// xorshift64* (Vigna, 2016).
    struct Random(u64);

    impl Random {
        fn uniform(&mut self) -> f64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 + 0.5) / (1u64 << 53) as f64
        }

        fn normal(&mut self) -> f64 {
            (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
        }
    }

    /// Two streams: what each sees of a step, in requests and seconds.
    type Steps = Vec<[(f64, f64); 2]>;

    /// Load that swings slowly and from step to step, and Poisson counts of it.
    fn loads(random: &mut Random, steps: usize) -> Vec<f64> {
        let mut wave = 0.0;
        (0..steps)
            .map(|at| {
                wave = 0.9 * wave + 0.05 * random.normal();
                60.0 * (1.0 + 0.4 * (at as f64 / 150.0).sin() + wave).max(0.1)
            })
            .collect()
    }

    fn counted(random: &mut Random, load: f64) -> f64 {
        (load + load.sqrt() * random.normal()).round().max(0.0)
    }

    fn noise(random: &mut Random, before: &mut f64) -> f64 {
        *before = 0.5 * *before + 0.866 * random.normal();
        *before
    }

    /// The same requests, of which the name's are read `late` of a step later and through a proxy.
    fn same(seed: u64, late: f64) -> Steps {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let (mut level, mut last) = (0.0, (0.0, 0.01));
        (loads(&mut random, 1200).into_iter())
            .map(|load| {
                let requests = counted(&mut random, load);
                let seconds = 0.01 * (0.15 * noise(&mut random, &mut level)).exp();
                let read = (1.0 - late) * requests + late * last.0;
                let latency = ((1.0 - late) * requests * seconds + late * last.0 * last.1) / read.max(1.0);
                last = (requests, seconds);
                [(read, 0.002 + latency * (1.0 + 0.005 * random.normal())), (requests, seconds)]
            })
            .collect()
    }

    /// Two services that one caller calls once each, a share of whose latencies' variance has a common cause.
    fn siblings(seed: u64, common: f64) -> Steps {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let mut levels = [0.0; 3];
        (loads(&mut random, 1200).into_iter())
            .map(|load| {
                let requests = counted(&mut random, load);
                let all = noise(&mut random, &mut levels[0]);
                let mut latency = |level: &mut f64| {
                    let own = noise(&mut random, level);
                    // Slower under load, both in the same way.
                    (0.007 + 0.003 * load / 60.0) * (0.15 * (common.sqrt() * all + (1.0 - common).sqrt() * own)).exp()
                };
                let [_, a, b] = &mut levels;
                let (a, b) = (latency(a), latency(b));
                [(requests, a), (requests, b)]
            })
            .collect()
    }

    /// Two services with the same load by chance.
    fn strangers(seed: u64) -> Steps {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let latencies = same(seed, 0.0);
        (loads(&mut random, 1200).into_iter().zip(latencies))
            .map(|(load, seen)| [(counted(&mut random, load), seen[0].1), (counted(&mut random, load), seen[1].1)])
            .collect()
    }

    fn service(name: &str) -> Service {
        Service::new(None, name).unwrap()
    }

    /// After how many steps the two are said to be one; the pair at the end, and whether they were ever candidates.
    fn judge(steps: &Steps) -> (Option<usize>, Pair, bool) {
        let mut pair = Pair::new(service("name"), service("component"), None, 0);
        let (mut streams, mut sure, mut met) = ([Stream::default(), Stream::default()], None, false);
        for (at, step) in (1..).zip(steps) {
            for (stream, (requests, seconds)) in streams.iter_mut().zip(step) {
                stream.add(*requests, *seconds);
            }
            if (at as u64).is_multiple_of(BLOCK_STEPS) {
                pair.compare(&streams[0], &streams[1], at as i64);
                streams.iter_mut().for_each(Stream::close);
                if pair.sure && sure.is_none() {
                    sure = Some(at);
                }
                let both = [(0, true), (1, false)].map(|(at, is_name)| Candidate::new(&streams[at], at, None, is_name));
                met |= candidates(both.into_iter().flatten().collect()).len() == 1;
            }
        }
        (sure, pair, met)
    }

    #[test]
    fn the_same_requests_are_told_within_three_hundred_steps_and_eight_hundred_if_read_at_different_times() {
        for seed in 1..=20 {
            let (sure, pair, met) = judge(&same(seed, 0.0));
            assert!(met && sure.is_some_and(|at| at <= 300) && pair.sure, "{seed}: {sure:?} {pair:?}");
            let (sure, pair, met) = judge(&same(seed, 0.5));
            assert!(met && sure.is_some_and(|at| at <= 800) && pair.sure, "{seed}: {sure:?} {pair:?}");
        }
    }

    #[test]
    fn two_services_that_one_caller_calls_alike_are_two_however_much_they_have_in_common() {
        for seed in 1..=200 {
            for common in [0.0, 0.5, 0.75] {
                let (sure, pair, _) = judge(&siblings(seed, common));
                assert_eq!(sure, None, "{seed} {common}: {pair:?}");
                assert!(pair.traffic > 10.0 && pair.latency < 0.0, "their traffic is the same: {pair:?}");
            }
        }
    }

    #[test]
    fn the_same_load_by_chance_is_not_the_same_requests() {
        for seed in 1..=40 {
            let (sure, pair, _) = judge(&strangers(seed));
            assert_eq!(sure, None, "{seed}: {pair:?}");
            assert!(pair.is_hopeless(1200), "{pair:?}");
        }
    }

    #[test]
    fn without_latency_or_variety_nothing_is_sure() {
        let steady: Steps = (0..1200).map(|_| [(60.0, 0.01); 2]).collect();
        let (sure, pair, met) = judge(&steady);
        assert!(sure.is_none() && !met && pair.latency == 0.0, "{pair:?}");
        let untimed: Steps = same(3, 0.0).into_iter().map(|step| step.map(|(n, _)| (n, f64::NAN))).collect();
        let (sure, pair, met) = judge(&untimed);
        assert!(sure.is_none() && met && pair.traffic > 10.0, "{pair:?}");
    }

    #[test]
    fn what_was_sure_is_given_up_when_the_two_part() {
        let mut steps = same(5, 0.0);
        steps.extend(siblings(6, 0.5));
        let (sure, pair, _) = judge(&steps);
        assert!(sure.is_some() && !pair.sure, "{pair:?}");
    }

    #[test]
    fn ten_thousand_streams_are_compared_with_few() {
        let mut random = Random(9);
        let streams: Vec<Candidate> = (0..40_000)
            .map(|at| Candidate {
                signature: (random.uniform() * 256.0) as u8,
                mean: 100.0 * random.uniform(),
                server: at,
                edge: None,
                is_name: at % 4 == 0,
            })
            .collect();
        let found = candidates(streams);
        assert!(found.len() <= 40_000 && found.iter().all(|(name, of)| name.is_name && !of.is_name));
        // All alike: bounded too.
        let alike = (0..4000).map(|at| Candidate { signature: 7, mean: 50.0, server: at, edge: None, is_name: true });
        assert!(candidates(alike.collect()).is_empty());
    }
}
