//! What is done once per series: its labels are taken apart, checked, and split into scope, replica and
//! the rest.

use std::sync::Arc;

use crate::config::IngestConfig;
use crate::stats::Rejection;
use quoll_identity::Scope;
use quoll_shards::wire::TENANT;

/// A series' labels after the split.
#[derive(Debug)]
pub(crate) struct SeriesLabels<'a> {
    /// Labels without those of scope and replica, sorted by name.
    pub(crate) labels: Vec<(&'a str, &'a str)>,
    /// Partition labels, sorted by name.
    pub(crate) partition: Vec<(&'a str, &'a str)>,
    /// Names and values of the replica labels; empty where there are none.
    pub(crate) replica: String,
}

impl<'a> SeriesLabels<'a> {
    /// The tenant that a report is about, taken from its labels.
    pub(crate) fn take_tenant(&mut self, of_leaves: bool) -> Option<&'a str> {
        let at = self.labels.iter().position(|&(name, _)| of_leaves && name == TENANT)?;
        Some(self.labels.remove(at).1)
    }

    pub(crate) fn scope(&self, tenant: &Arc<str>) -> Scope {
        let partition = self.partition.iter().map(|&(name, value)| (Arc::from(name), Arc::from(value)));
        Scope { tenant: Arc::clone(tenant), partition: partition.collect() }
    }
}

/// Splits the labels of a series, of which those that are malformed are `None`.
///
/// Senders must sort labels; those that do not are sorted here, as that harms nobody. A label with an empty
/// value is the same as none, in Prometheus' data model.
pub(crate) fn split<'a>(
    given: impl Iterator<Item = Option<(&'a str, &'a str)>>,
    config: &IngestConfig,
) -> Result<SeriesLabels<'a>, Rejection> {
    let limits = &config.limits;
    let mut all = Vec::new();
    for label in given {
        let (name, value) = label.ok_or(Rejection::MalformedLabel)?;
        if name.is_empty() {
            return Err(Rejection::EmptyLabelName);
        }
        if name.len() > limits.label_name_bytes {
            return Err(Rejection::LabelNameTooLong);
        }
        if value.len() > limits.label_value_bytes {
            return Err(Rejection::LabelValueTooLong);
        }
        if all.len() >= limits.labels_per_series {
            return Err(Rejection::TooManyLabels);
        }
        all.push((name, value));
    }
    all.sort_unstable();
    if all.windows(2).any(|pair| matches!(pair, [(a, _), (b, _)] if a == b)) {
        return Err(Rejection::DuplicateLabel);
    }
    let mut split =
        SeriesLabels { labels: Vec::with_capacity(all.len()), partition: Vec::new(), replica: String::new() };
    for (name, value) in all {
        if value.is_empty() {
            continue;
        }
        if config.partition_labels.iter().any(|partition| partition == name) {
            split.partition.push((name, value));
        } else if config.ha_replica_labels.iter().any(|replica| replica == name) {
            // Unit separators cannot be mistaken for a part of another name or value here, as equality
            // of the whole is all that is asked.
            split.replica.push_str(name);
            split.replica.push('\u{1f}');
            split.replica.push_str(value);
            split.replica.push('\u{1f}');
        } else {
            split.labels.push((name, value));
        }
    }
    if !split.labels.iter().any(|&(name, _)| name == "__name__") {
        return Err(Rejection::NoName);
    }
    Ok(split)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejection(labels: &[(&str, &str)], config: &IngestConfig) -> Rejection {
        split(labels.iter().copied().map(Some), config).unwrap_err()
    }

    #[test]
    fn scope_and_replica_are_split_off_and_the_rest_is_sorted() {
        let given = [("z", "1"), ("__name__", "up"), ("cluster", "eu"), ("replica", "a"), ("empty", "")];
        let split = split(given.into_iter().map(Some), &IngestConfig::default()).unwrap();
        assert_eq!(split.labels, [("__name__", "up"), ("z", "1")]);
        assert_eq!(split.partition, [("cluster", "eu")]);
        assert_eq!(split.replica, "replica\u{1f}a\u{1f}");
    }

    #[test]
    fn each_broken_rule_has_its_reason() {
        let mut config = IngestConfig::default();
        config.limits.labels_per_series = 3;
        config.limits.label_name_bytes = 10;
        config.limits.label_value_bytes = 10;
        assert_eq!(rejection(&[("a", "b")], &config), Rejection::NoName);
        assert_eq!(rejection(&[("", "b")], &config), Rejection::EmptyLabelName);
        assert_eq!(rejection(&[("a", "b"), ("a", "c")], &config), Rejection::DuplicateLabel);
        assert_eq!(rejection(&[("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")], &config), Rejection::TooManyLabels);
        assert_eq!(rejection(&[("abcdefghijk", "1")], &config), Rejection::LabelNameTooLong);
        assert_eq!(rejection(&[("a", "abcdefghijk")], &config), Rejection::LabelValueTooLong);
        assert_eq!(split([None].into_iter(), &config).unwrap_err(), Rejection::MalformedLabel);
    }
}
