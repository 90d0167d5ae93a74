//! Which of several sources tells a figure.
//!
//! Several presets may see the same service or edge. One of them is elected, never the sum: the preferred
//! one (the one listed first) as soon as it tells the figure; another only once the elected one has told
//! nothing for five minutes, so that a gap in one source does not show as a step to another's level.

use serde::{Deserialize, Serialize};

use crate::windows::FORGET_MS;

/// Who was elected last.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Elected {
    source: u8,
    /// End of the last step in which it told the figure.
    told_ms: Option<i64>,
}

impl Elected {
    /// Elects among the sources in their order of preference, given which of them tell the figure.
    /// `None` where nobody does, or only somebody who is not elected yet.
    pub fn elect(&mut self, end_ms: i64, tells: impl Fn(usize) -> bool, sources: usize) -> Option<usize> {
        let candidate = (0..sources).find(|&source| tells(source))?;
        let elected = usize::from(self.source);
        let waits = self.told_ms.is_some_and(|told_ms| end_ms - told_ms <= FORGET_MS);
        if candidate > elected && waits {
            return None;
        }
        self.source = u8::try_from(candidate).unwrap_or(u8::MAX);
        self.told_ms = Some(end_ms);
        Some(candidate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_source_is_taken_at_once_and_left_only_after_five_minutes() {
        let mut elected = Elected::default();
        assert_eq!(elected.elect(0, |_| false, 2), None);
        assert_eq!(elected.elect(1000, |source| source == 1, 2), Some(1), "nobody better yet");
        assert_eq!(elected.elect(2000, |_| true, 2), Some(0));
        assert_eq!(elected.elect(3000, |source| source == 1, 2), None, "a gap");
        assert_eq!(elected.elect(302_000, |source| source == 1, 2), None);
        assert_eq!(elected.elect(302_001, |source| source == 1, 2), Some(1));
        assert_eq!(elected.elect(303_000, |_| true, 2), Some(0));
    }
}
