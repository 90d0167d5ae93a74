//! What incidents teach: how often each service fails, whose alarms come to nothing, and how surely and how
//! fast trouble travels along each link.
//!
//! Everything starts from a documented prior that is worth so many observations, is bounded, fades or is
//! capped, and is stored. Services and links that never took part in anything take no memory, nor do those of whom
//! nothing is left to say: a service that changed once and never failed is forgotten when its change no longer counts.

use std::collections::BTreeMap;

use quoll_features::Change;
use quoll_identity::{Edge, Service};
use serde::{Deserialize, Serialize};

use crate::config::IncidentsConfig;
use crate::names::Cursor;
use crate::stored::bits;

const DAY_MS: f64 = 86_400_000.0;
/// Bounds of a service's own fault rate, as a multiple of the configured one.
pub(crate) const RATE_BOUNDS: (f64, f64) = (0.25, 8.0);
/// How many observations the strength to start with is worth, and how many observations count at most.
const STRENGTH_WORTH: f64 = 10.0;
const STRENGTH_LIMIT: f64 = 100.0;
/// Bounds of a learned strength.
const STRENGTH_BOUNDS: (f64, f64) = (0.05, 0.98);
/// Doubt in a service's alarms halves in a day; it comes from incidents of the same cause that end and come
/// back within half an hour, and from users.
const DOUBT_HALF_LIFE_DAYS: f64 = 1.0;
const FLAP_MS: i64 = 1_800_000;
const DOUBT_OF_USER: f64 = 3.0;
/// Least share of its evidence that a doubted service keeps.
const LEAST_WEIGHT: f64 = 0.25;
/// Doubt below this is none.
const LEAST_DOUBT: f64 = 0.01;
/// Services and links remembered at most; beyond, the longest unheard of is forgotten.
const REMEMBERED: usize = 20_000;
/// Event time between two looks for services of whom nothing is left to say.
const TIDY_EVERY_MS: i64 = 600_000;

/// One service's past.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Record {
    #[serde(with = "bits")]
    faults: f64,
    #[serde(with = "bits")]
    doubt: f64,
    doubt_ms: i64,
    last_fault_ms: i64,
    change: Option<Changed>,
    touched_ms: i64,
}

/// The last change of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Changed {
    pub(crate) at_ms: i64,
    pub(crate) change: Change,
}

/// How often the client of a link suffered when its server did, and how much later.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Travel {
    #[serde(with = "bits")]
    hits: f64,
    #[serde(with = "bits")]
    misses: f64,
    #[serde(with = "bits")]
    lag_seconds: f64,
    touched_ms: i64,
}

/// All of it for one scope.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Learned {
    since_ms: i64,
    #[serde(default)]
    tidied_ms: i64,
    services: Vec<(Service, Record)>,
    links: Vec<(Edge, Travel)>,
}

/// Sorted lists with a key, so that they are stored as they are.
fn entry<K: Ord + Clone, V: Default>(list: &mut Vec<(K, V)>, key: &K, age: impl Fn(&V) -> i64) -> usize {
    match list.binary_search_by(|(other, _)| other.cmp(key)) {
        Ok(at) => at,
        Err(at) => {
            let mut at = at;
            if list.len() >= REMEMBERED
                && let Some(oldest) = (0..list.len()).min_by_key(|&i| age(&list[i].1))
            {
                list.remove(oldest);
                at -= usize::from(oldest < at);
            }
            list.insert(at, (key.clone(), V::default()));
            at
        }
    }
}

fn find<'a, K: Ord, V>(list: &'a [(K, V)], key: &K) -> Option<&'a V> {
    list.binary_search_by(|(other, _)| other.cmp(key)).ok().map(|at| &list[at].1)
}

impl Record {
    fn doubt(&self, now_ms: i64) -> f64 {
        let days = (now_ms - self.doubt_ms).max(0) as f64 / DAY_MS;
        self.doubt * libm::exp2(-days / DOUBT_HALF_LIFE_DAYS)
    }

    /// Whether it makes a difference to anything, now or later.
    fn counts(&self, now_ms: i64, config: &IncidentsConfig) -> bool {
        let fresh = |change: &Changed| (now_ms - change.at_ms) as f64 <= 1000.0 * config.change_seconds;
        self.faults > 0.0
            || self.doubt(now_ms) >= LEAST_DOUBT
            || (self.last_fault_ms > 0 && now_ms - self.last_fault_ms < FLAP_MS)
            || self.change.as_ref().is_some_and(fresh)
    }

    fn add_doubt(&mut self, amount: f64, now_ms: i64) {
        self.doubt = (self.doubt(now_ms) + amount).clamp(0.0, 20.0);
        self.doubt_ms = now_ms;
    }
}

impl Travel {
    fn strength(&self, start: f64) -> f64 {
        let mean = (STRENGTH_WORTH * start + self.hits) / (STRENGTH_WORTH + self.hits + self.misses);
        mean.clamp(STRENGTH_BOUNDS.0, STRENGTH_BOUNDS.1)
    }
}

impl Learned {
    /// The scope was there at this time. Now and then, what makes no difference any more is forgotten.
    pub(crate) fn watch(&mut self, now_ms: i64, config: &IncidentsConfig) {
        if self.since_ms == 0 {
            (self.since_ms, self.tidied_ms) = (now_ms, now_ms);
        }
        if now_ms - self.tidied_ms >= TIDY_EVERY_MS {
            self.tidied_ms = now_ms;
            self.services.retain(|(_, record)| record.counts(now_ms, config));
            self.services.shrink_to(2 * self.services.len());
        }
    }

    fn record(&mut self, service: &Service, now_ms: i64) -> &mut Record {
        let at = entry(&mut self.services, service, |record: &Record| record.touched_ms);
        let record = &mut self.services[at].1;
        record.touched_ms = now_ms;
        record
    }

    /// By how much a fault of this service is likelier now than the configured rate says.
    ///
    /// The rate is the mean of a Gamma distribution (Gelman et al., "Bayesian Data Analysis", 3rd ed., section
    /// 2.6) that starts with one fault in the time that the configured rate needs for one. A change raises it,
    /// less and less, for a while.
    pub(crate) fn hazard_factor(&self, service: &Service, now_ms: i64, config: &IncidentsConfig) -> f64 {
        self.factor_of(find(&self.services, service), now_ms, config)
    }

    /// [`Learned::hazard_factor`] of many services, sorted.
    pub(crate) fn hazard_factors<'a>(
        &'a self,
        services: &'a [Service],
        now_ms: i64,
        config: &'a IncidentsConfig,
    ) -> impl Iterator<Item = f64> + 'a {
        let mut records = Cursor::new(&self.services, |(service, _)| service);
        services
            .iter()
            .map(move |service| self.factor_of(records.find(service).map(|at| &self.services[at].1), now_ms, config))
    }

    fn factor_of(&self, record: Option<&Record>, now_ms: i64, config: &IncidentsConfig) -> f64 {
        let expected = (now_ms - self.since_ms).max(0) as f64 / DAY_MS * config.fault_rate_per_service_per_day;
        let faults = record.map_or(0.0, |record| record.faults);
        let own = ((1.0 + faults) / (1.0 + expected)).clamp(RATE_BOUNDS.0, RATE_BOUNDS.1);
        let age =
            record.and_then(|record| record.change.as_ref()).map(|change| (now_ms - change.at_ms) as f64 / 1000.0);
        let fresh = age.map_or(0.0, |age| (1.0 - age / config.change_seconds).clamp(0.0, 1.0));
        own * (1.0 + (config.change_factor - 1.0) * fresh)
    }

    /// The share of evidence against a service that counts: less for those whose alarms came to nothing.
    pub(crate) fn weight(&self, service: &Service, now_ms: i64) -> f64 {
        let doubt = find(&self.services, service).map_or(0.0, |record| record.doubt(now_ms));
        (1.0 / (1.0 + 0.5 * doubt)).max(LEAST_WEIGHT)
    }

    /// The strength of a link that starts with `start`: mean of a Beta distribution.
    pub(crate) fn strength(&self, link: &Edge, start: f64) -> f64 {
        find(&self.links, link).map_or(start, |travel| travel.strength(start))
    }

    /// [`Learned::strength`] of many links, sorted.
    pub(crate) fn strengthen<'a>(&self, links: impl Iterator<Item = &'a Edge>, strengths: &mut [f64]) {
        let mut travels = Cursor::new(&self.links, |(link, _)| link);
        for (link, strength) in links.zip(strengths) {
            if let Some(at) = travels.find(link) {
                *strength = self.links[at].1.strength(*strength);
            }
        }
    }

    /// How many seconds after the server the client of a link suffers; `None` where it never did.
    pub(crate) fn lag_seconds(&self, link: &Edge) -> Option<f64> {
        find(&self.links, link).filter(|travel| travel.hits > 0.0).map(|travel| travel.lag_seconds)
    }

    pub(crate) fn changed(&mut self, service: &Service, change: &Change, at_ms: i64) {
        self.record(service, at_ms).change = Some(Changed { at_ms, change: change.clone() });
    }

    /// The last change of a service within the time that changes count.
    pub(crate) fn change(&self, service: &Service, now_ms: i64, config: &IncidentsConfig) -> Option<&Changed> {
        let change = find(&self.services, service)?.change.as_ref()?;
        ((now_ms - change.at_ms) as f64 <= 1000.0 * config.change_seconds).then_some(change)
    }

    /// An incident ended: its cause failed once more, and each link from someone who suffered carried it or not.
    /// `hits` are those who suffered and since when.
    pub(crate) fn conclude<'a>(
        &mut self,
        root: &Service,
        hits: &BTreeMap<Service, i64>,
        links: impl Iterator<Item = &'a Edge>,
        end_ms: i64,
    ) {
        let record = self.record(root, end_ms);
        if record.last_fault_ms > 0 && end_ms - record.last_fault_ms < FLAP_MS {
            // The same trouble again, or no trouble at all: in either case not a fault more.
            record.add_doubt(1.0, end_ms);
        } else {
            record.faults += 1.0;
        }
        record.last_fault_ms = end_ms;
        for link in links {
            let Some(&server_ms) = hits.get(&link.server) else { continue };
            let client_ms = hits.get(&link.client);
            let at = entry(&mut self.links, link, |travel: &Travel| travel.touched_ms);
            let travel = &mut self.links[at].1;
            travel.touched_ms = end_ms;
            let seen = travel.hits + travel.misses;
            if seen >= STRENGTH_LIMIT {
                travel.hits *= 1.0 - 1.0 / seen;
                travel.misses *= 1.0 - 1.0 / seen;
            }
            match client_ms {
                Some(&client_ms) => {
                    travel.hits += 1.0;
                    let lag = (client_ms - server_ms).max(0) as f64 / 1000.0;
                    travel.lag_seconds += (lag - travel.lag_seconds) / travel.hits.min(10.0);
                }
                None => travel.misses += 1.0,
            }
        }
    }

    /// A user says that an incident named after `root` was none.
    pub(crate) fn refute(&mut self, root: &Service, now_ms: i64) {
        let record = self.record(root, now_ms);
        record.faults = (record.faults - 1.0).max(0.0);
        record.add_doubt(DOUBT_OF_USER, now_ms);
    }

    /// A user says that the cause of an incident named after `root` was `cause`.
    pub(crate) fn confirm(&mut self, root: &Service, cause: &Service, now_ms: i64) {
        if root != cause {
            let named = self.record(root, now_ms);
            named.faults = (named.faults - 1.0).max(0.0);
        }
        let record = self.record(cause, now_ms);
        record.faults += 1.0;
        record.doubt = 0.0;
    }
}

#[cfg(test)]
mod tests {
    use quoll_features::ChangeKind;

    use super::*;

    const DAY: i64 = 86_400_000;

    fn service(name: &str) -> Service {
        Service::new(None, name).unwrap()
    }

    fn link(client: &str, server: &str) -> Edge {
        Edge { client: service(client), server: service(server) }
    }

    #[test]
    fn rates_move_with_faults_and_within_bounds() {
        let config = IncidentsConfig::default();
        let mut learned = Learned::default();
        learned.watch(DAY, &config);
        assert_eq!(learned.hazard_factor(&service("a"), DAY, &config), 1.0);
        for day in 1..=40 {
            learned.conclude(&service("a"), &BTreeMap::new(), std::iter::empty(), day * DAY);
        }
        assert_eq!(learned.hazard_factor(&service("a"), 40 * DAY, &config), 8.0);
        let steady = learned.hazard_factor(&service("b"), 31 * DAY, &config);
        assert!((steady - 0.5).abs() < 1e-12, "{steady}");
        assert_eq!(learned.hazard_factor(&service("b"), 4000 * DAY, &config), 0.25);
    }

    #[test]
    fn strengths_start_as_documented_and_move_with_what_happened() {
        let mut learned = Learned::default();
        let link = link("web", "db");
        assert_eq!(learned.strength(&link, 0.9), 0.9);
        let server_only: BTreeMap<Service, i64> = [(service("db"), 1000)].into();
        for turn in 0..30 {
            learned.conclude(&service("db"), &server_only, std::iter::once(&link), turn * DAY);
        }
        let weak = learned.strength(&link, 0.9);
        assert!((weak - 9.0 / 40.0).abs() < 1e-12, "{weak}");
        assert_eq!(learned.lag_seconds(&link), None);
        let both: BTreeMap<Service, i64> = [(service("db"), 1000), (service("web"), 5000)].into();
        for turn in 30..1000 {
            learned.conclude(&service("db"), &both, std::iter::once(&link), turn * DAY);
        }
        assert!(learned.strength(&link, 0.9) > 0.95);
        assert_eq!(learned.lag_seconds(&link), Some(4.0));
        assert!(learned.strength(&link, 0.9) <= 0.98);
    }

    #[test]
    fn who_flaps_loses_weight_and_gets_it_back() {
        let mut learned = Learned::default();
        let minute = 60_000;
        for turn in 1..=10 {
            learned.conclude(&service("a"), &BTreeMap::new(), std::iter::empty(), DAY + turn * minute);
        }
        let now = DAY + 10 * minute;
        assert_eq!(learned.weight(&service("a"), now), 0.25);
        assert_eq!(learned.weight(&service("b"), now), 1.0);
        assert!(learned.weight(&service("a"), now + 7 * DAY) > 0.9);
        learned.confirm(&service("a"), &service("a"), now);
        assert_eq!(learned.weight(&service("a"), now), 1.0);
        learned.refute(&service("a"), now);
        assert!((learned.weight(&service("a"), now) - 0.4).abs() < 1e-12);
    }

    #[test]
    fn who_only_changed_is_forgotten_with_the_change_and_who_failed_is_not() {
        let config = IncidentsConfig::default();
        let mut learned = Learned::default();
        learned.watch(DAY, &config);
        let change = Change { kind: ChangeKind::Image, text: "image a:1 -> a:2".into() };
        for name in 0..1000 {
            learned.changed(&service(&format!("pod-{name}")), &change, DAY);
        }
        learned.conclude(&service("failed"), &BTreeMap::new(), std::iter::empty(), DAY);
        learned.refute(&service("doubted"), DAY);
        let factor = |learned: &Learned| learned.hazard_factor(&service("pod-7"), DAY + 1_200_000, &config);
        let before = factor(&learned);
        learned.watch(DAY + 1_200_000, &config);
        assert_eq!((learned.services.len(), factor(&learned)), (1002, before), "the change still counts");
        let hour = DAY + 3_600_000;
        let before = [
            learned.hazard_factor(&service("pod-7"), hour, &config),
            learned.hazard_factor(&service("failed"), hour, &config),
            learned.weight(&service("doubted"), hour),
        ];
        learned.watch(hour, &config);
        assert_eq!(learned.services.len(), 2);
        let after = [
            learned.hazard_factor(&service("pod-7"), hour, &config),
            learned.hazard_factor(&service("failed"), hour, &config),
            learned.weight(&service("doubted"), hour),
        ];
        assert_eq!(after, before, "nothing that is said changes");
        learned.watch(hour + 30 * DAY, &config);
        assert_eq!(learned.services.len(), 1, "doubt fades");
    }

    #[test]
    fn a_change_raises_the_prior_for_a_while() {
        let config = IncidentsConfig::default();
        let mut learned = Learned::default();
        learned.watch(DAY, &config);
        let change = Change { kind: ChangeKind::Image, text: "image a:1 -> a:2".into() };
        learned.changed(&service("a"), &change, DAY);
        let factor = |minutes: i64| learned.hazard_factor(&service("a"), DAY + minutes * 60_000, &config);
        assert_eq!(factor(0), config.change_factor);
        assert!(factor(15) > 5.0 && factor(15) < factor(1));
        assert!(factor(31) <= 1.0);
        assert!(learned.change(&service("a"), DAY + 60_000, &config).is_some());
        assert!(learned.change(&service("a"), DAY + 31 * 60_000, &config).is_none());
    }
}
