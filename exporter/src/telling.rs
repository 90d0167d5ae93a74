//! Errors as they are told: on one line, each cause once.

/// An error with its causes. Most of ours tell their causes themselves, which are not told again.
#[must_use]
pub fn whole(error: &anyhow::Error) -> String {
    let mut said = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !said.contains(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_cause_that_is_told_already_is_not_told_again() {
        let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
        let twice = anyhow::Error::new(missing()).context(format!("services.yaml: {}", missing()));
        assert_eq!(whole(&twice), "services.yaml: entity not found");
        let once = Err::<(), _>(missing()).context("services.yaml").unwrap_err();
        assert_eq!(whole(&once), "services.yaml: entity not found");
    }
}
