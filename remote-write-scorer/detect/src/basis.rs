//! What an expectation that is shown to users rests on.

/// The part of the score that expects it. Its numbers are part of what leaves tell their root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Basis {
    /// The forecast: what would follow from the last steps of all features.
    #[default]
    LastSteps,
    /// The autoencoder: what is normal where the rest of the window is as it is.
    NormalPattern,
    /// The level: the median of normal operation.
    UsualLevel,
    /// The level: what is usual at this hour of the day.
    HourOfDay,
    /// The relations: what would go with the other features of this step.
    OtherFeatures,
}

impl Basis {
    /// All, in the order of their codes.
    pub const ALL: [Self; 5] =
        [Self::LastSteps, Self::NormalPattern, Self::UsualLevel, Self::HourOfDay, Self::OtherFeatures];

    /// Its number.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The basis of this number; the first one of any other, which an older process sends none of.
    #[must_use]
    pub fn of(code: f64) -> Self {
        Self::ALL.get(code as usize).copied().unwrap_or_default()
    }

    /// Its name in data.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LastSteps => "last_steps",
            Self::NormalPattern => "normal_pattern",
            Self::UsualLevel => "usual_level",
            Self::HourOfDay => "hour_of_day",
            Self::OtherFeatures => "other_features",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_basis_is_found_by_its_code_and_has_a_name_of_its_own() {
        for (at, basis) in Basis::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(basis.code()), at);
            assert_eq!(Basis::of(at as f64), basis);
            assert_eq!(Basis::ALL.iter().filter(|other| other.name() == basis.name()).count(), 1);
        }
        assert_eq!((Basis::of(f64::NAN), Basis::of(7.0)), (Basis::LastSteps, Basis::LastSteps));
    }
}
