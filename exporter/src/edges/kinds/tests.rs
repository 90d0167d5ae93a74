use std::collections::BTreeMap;

use super::*;

/// Edges with counts for histograms, beside what was asked of them.
#[derive(Default)]
struct Model {
    room: usize,
    taken: Vec<(Kind, u64)>,
    asked: BTreeMap<Kind, u64>,
    without: BTreeMap<Kind, u64>,
}

impl Model {
    fn new(room: usize) -> Self {
        Self { room, ..Self::default() }
    }

    fn ask(&mut self, kind: Kind) {
        *self.asked.entry(kind).or_default() += 1;
        let Some(place) = (Places { taken: &self.taken, room: self.room }).of(kind) else {
            *self.without.entry(kind).or_default() += 1;
            return;
        };
        let index = self.taken.binary_search_by_key(&place, |(known, _)| *known).unwrap_or_else(|index| {
            self.taken.insert(index, (place, 0));
            index
        });
        self.taken[index].1 += 1;
    }

    fn ask_all(&mut self, protocol: Protocol, statuses: impl IntoIterator<Item = u8>) {
        statuses.into_iter().for_each(|status| self.ask((protocol, method::OTHER, status)));
    }

    fn sum<'a>(counts: impl IntoIterator<Item = (&'a Kind, &'a u64)>, protocol: Protocol, class: Class) -> u64 {
        let of_class = |(known, _, status): &Kind| *known == protocol && Class::of(protocol, *status) == class;
        counts.into_iter().filter(|(kind, _)| of_class(kind)).map(|(_, count)| count).sum()
    }

    fn shown(&self) -> impl Iterator<Item = (&Kind, &u64)> {
        self.taken.iter().map(|(kind, count)| (kind, count))
    }

    /// What the module promises.
    fn check(&self) {
        assert!(self.taken.len() <= self.room, "{:?}", self.taken);
        for protocol in Protocol::ALL {
            let [good, client, failed] = Class::ALL.map(|class| {
                let shown = Self::sum(self.shown(), protocol, class);
                let without = Self::sum(&self.without, protocol, class);
                assert_eq!(shown + without, Self::sum(&self.asked, protocol, class), "{protocol:?} {class:?}");
                (shown, without)
            });
            let is_shown = self.taken.iter().any(|((known, ..), _)| *known == protocol);
            assert!(!is_shown || (good.1, failed.1) == (0, 0), "{protocol:?}: {:?} {:?}", self.asked, self.taken);
            assert!(is_shown || client.0 == 0);
        }
        // A place of a status holds nothing else; one of a method neither.
        for (kind, count) in self.shown() {
            if kind.1 != method::OTHER {
                assert!(self.asked[kind] >= *count);
            } else if kind.2 < OTHER_CLIENT {
                let of_status = self.asked.iter().filter(|(asked, _)| (asked.0, asked.2) == (kind.0, kind.2));
                assert!(of_status.map(|(_, asked)| asked).sum::<u64>() >= *count, "{kind:?}");
            }
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    fn shuffle<T>(&mut self, all: &mut [T]) {
        for last in (1..all.len()).rev() {
            all.swap(last, self.below(last + 1));
        }
    }
}

fn own_statuses(protocol: Protocol) -> Vec<u8> {
    Class::ALL.into_iter().flat_map(|class| statuses(protocol, class)).collect()
}

fn orders(of: &[u8]) -> Vec<Vec<u8>> {
    if of.is_empty() {
        return vec![Vec::new()];
    }
    let begun = |first: usize| {
        let rest: Vec<u8> = of.iter().enumerate().filter(|(index, _)| *index != first).map(|(_, one)| *one).collect();
        orders(&rest).into_iter().map(move |rest| [vec![of[first]], rest].concat())
    };
    (0..of.len()).flat_map(begun).collect()
}

#[test]
fn each_status_of_a_protocol_is_of_one_class_and_one_is_good() {
    for protocol in Protocol::ALL {
        assert_eq!(statuses(protocol, Class::Good).collect::<Vec<_>>(), [OK]);
        assert!(statuses(protocol, Class::Failed).count() > 0);
        let named = protocol.statuses().iter().filter(|name| !name.is_empty());
        assert_eq!(named.count(), own_statuses(protocol).len());
        assert!(protocol.statuses().iter().all(|name| !["other", "other_client"].contains(name)));
    }
    let failed = statuses(Protocol::Grpc, Class::Failed).map(|status| status_name(Protocol::Grpc, status).unwrap());
    // https://opentelemetry.io/docs/specs/semconv/rpc/grpc/, of server spans.
    let held_against = ["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"];
    assert_eq!(failed.collect::<Vec<_>>(), held_against);
    assert_eq!(status_name(Protocol::Grpc, 17), None);
    assert_eq!(status_name(Protocol::Redis, 2), None);
}

#[test]
fn a_protocol_of_five_statuses_or_fewer_has_all_of_them_in_whatever_order_they_come() {
    for protocol in Protocol::ALL.into_iter().filter(|protocol| *protocol != Protocol::Grpc) {
        let all = own_statuses(protocol);
        for order in orders(&all) {
            let mut model = Model::new(MAX_HISTOGRAMS);
            model.ask_all(protocol, order.iter().copied().chain(order.clone()));
            model.check();
            assert_eq!(model.taken.len(), all.len());
            assert!(model.taken.iter().all(|((.., status), count)| *status < OTHER_CLIENT && *count == 2), "{order:?}");
        }
    }
}

#[test]
fn seventeen_statuses_of_grpc_are_told_apart_by_what_they_mean_in_whatever_order_they_come() {
    let mut random = Random(1);
    for _ in 0..1_000 {
        let mut order = own_statuses(Protocol::Grpc);
        random.shuffle(&mut order);
        let mut model = Model::new(MAX_HISTOGRAMS);
        for _ in 0..2 {
            model.ask_all(Protocol::Grpc, order.iter().copied());
            model.check();
        }
        assert!(model.without.is_empty(), "{order:?}");
        let of = |status| model.taken.iter().any(|((.., known), _)| *known == status);
        assert!(of(OK) && of(OTHER) && of(OTHER_CLIENT), "{order:?}: {:?}", model.taken);
    }
}

#[test]
fn two_protocols_of_which_none_fails_in_many_ways_lose_nothing() {
    for (first, second) in [(&[0, 2][..], &[0, 14][..]), (&[0, 3], &[14, 13, 0]), (&[4, 3, 0], &[0, 2])] {
        let mut model = Model::new(MAX_HISTOGRAMS);
        model.ask_all(Protocol::Http1, first.iter().copied());
        model.ask_all(Protocol::Grpc, second.iter().copied());
        model.check();
        assert!(model.without.is_empty(), "{first:?} {second:?}: {:?}", model.taken);
    }
}

#[test]
fn whatever_comes_in_whatever_order_what_failed_is_among_what_failed() {
    let mut random = Random(2);
    let shown = [Protocol::Http1, Protocol::Grpc, Protocol::Dns, Protocol::Postgres, Protocol::Mysql, Protocol::Redis];
    for run in 0..2_000 {
        let by_method = run % 4 == 0;
        let mut model = Model::new(if by_method { MAX_HISTOGRAMS_BY_METHOD } else { MAX_HISTOGRAMS });
        let mut spoken = shown;
        random.shuffle(&mut spoken);
        let spoken = &spoken[..1 + random.below(4)];
        let mut before: Vec<(Kind, u64)> = Vec::new();
        let mut places: BTreeMap<Kind, Option<Kind>> = BTreeMap::new();
        for _ in 0..60 {
            let protocol = spoken[random.below(spoken.len())];
            let statuses = own_statuses(protocol);
            // The first ones come more often.
            let most = 1 + random.below(statuses.len());
            let status = statuses[random.below(most)];
            let method = if by_method && protocol == Protocol::Http1 { random.below(method::METHODS) as u8 } else { 0 };
            let kind = (protocol, method, status);
            model.ask(kind);
            let place = Places { taken: &model.taken, room: model.room }.of(kind);
            // Where a kind went once it goes again; and nothing that was shown falls or goes.
            assert_eq!(*places.entry(kind).or_insert(place), place, "{kind:?}: {:?}", model.taken);
            let kept = |(kind, count): &(Kind, u64)| model.taken.iter().any(|(now, more)| now == kind && more >= count);
            assert!(before.iter().all(kept));
            before.clone_from(&model.taken);
        }
        model.check();
        if spoken.len() == 1 {
            assert!(model.without.is_empty(), "{:?}", model.taken);
        }
    }
}
