//! A campaign's plan: which faults, how long, with how much rest between them.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::clients::{Fault, Topology};

/// Read from YAML; unknown keys are errors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Scrape interval and step, in seconds.
    pub step_seconds: u32,
    /// How long to learn before anything breaks, in seconds.
    pub learn_seconds: u64,
    /// How long nothing must be found before the first fault, in seconds.
    pub control_seconds: u64,
    /// How long an incident may take to close after its repair, in seconds.
    pub recovery_seconds: u64,
    /// Healthy time after each fault, in seconds.
    pub pause_seconds: u64,
    /// The faults, in order. A fault is repaired as soon as it is notified, else after its `seconds`.
    pub faults: Vec<Fault>,
}

impl Plan {
    /// Reads and checks a plan.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Config`] for what is no plan.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(Error::file(path))?;
        Self::parse(&path.to_string_lossy(), &text)
    }

    fn parse(file: &str, text: &str) -> Result<Self, Error> {
        let wrong = |problem: String| Error::Config { file: file.to_owned(), problem };
        let plan: Self = serde_saphyr::from_str(text).map_err(|error| wrong(error.to_string()))?;
        if plan.step_seconds == 0 || plan.faults.is_empty() {
            return Err(wrong("needs a step_seconds of at least 1 and at least one fault".to_owned()));
        }
        if let Some(problem) = plan.faults.iter().find_map(|fault| check_kind(&fault.kind).err()) {
            return Err(wrong(problem));
        }
        if let Some(fault) = plan.faults.iter().find(|fault| !(fault.seconds.is_finite() && fault.seconds > 0.0)) {
            return Err(wrong(format!("{}:{} lasts {} seconds", fault.service, fault.kind, fault.seconds)));
        }
        Ok(plan)
    }

    /// Checks that every fault's service is there.
    ///
    /// # Errors
    /// [`Error::Usage`] with the services there are.
    pub fn check_against(&self, topology: &Topology) -> Result<(), Error> {
        self.faults.iter().try_for_each(|fault| check_service(topology, &fault.service))
    }

    /// Longest it can take after the stack is ready, without training, in seconds.
    pub fn longest_seconds(&self) -> f64 {
        let rest = self.recovery_seconds + self.pause_seconds;
        #[allow(clippy::cast_precision_loss, reason = "seconds of one campaign")]
        let fixed = (self.learn_seconds + self.control_seconds + rest * self.faults.len() as u64) as f64;
        fixed + self.faults.iter().map(|fault| fault.seconds).sum::<f64>()
    }
}

/// Faults that the shop knows.
pub const KINDS: [&str; 7] = ["latency", "errors", "cpu", "memory", "crash", "hang", "slow-accept"];

/// Checks that `kind` is one of [`KINDS`].
///
/// # Errors
/// Those there are, in words.
pub fn check_kind(kind: &str) -> Result<(), String> {
    if KINDS.contains(&kind) {
        Ok(())
    } else {
        Err(format!("there is no fault '{kind}'; there are {}", KINDS.join(", ")))
    }
}

/// `service:kind`, such as `cart:latency`.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse_fault(text: &str) -> Result<(String, String), String> {
    let (service, kind) =
        text.split_once(':').ok_or_else(|| "it is written as service:kind, such as cart:latency".to_owned())?;
    check_kind(kind)?;
    Ok((service.to_owned(), kind.to_owned()))
}

/// Checks that `service` is in the shop.
///
/// # Errors
/// [`Error::Usage`] with the services there are.
pub fn check_service(topology: &Topology, service: &str) -> Result<(), Error> {
    if topology.breakable().any(|known| known.name == service) {
        return Ok(());
    }
    let names: Vec<&str> = topology.breakable().map(|known| known.name.as_str()).collect();
    Err(Error::Usage(format!("there is no service '{service}'; there are {}", names.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plans_of_this_repository_are_plans_and_the_smoke_one_fits_ten_minutes_at_the_worst() {
        let plans = crate::checkout::root().join("tests/e2e/plans");
        for entry in std::fs::read_dir(&plans).unwrap() {
            Plan::read(&entry.unwrap().path()).unwrap();
        }
        let smoke = Plan::read(&plans.join("smoke.yaml")).unwrap();
        assert!(smoke.longest_seconds() <= 600.0, "{} s on a slow machine", smoke.longest_seconds());
    }

    #[test]
    fn a_wrong_plan_says_what_is_wrong() {
        let good = "{step_seconds: 1, learn_seconds: 1, control_seconds: 1, recovery_seconds: 1, pause_seconds: 1, \
                    faults: [{service: cart, kind: crash, seconds: 5}]}";
        let plan = Plan::parse("p", good).unwrap();
        let error = |text: &str| Plan::parse("p", text).unwrap_err().to_string();
        assert!(error(&good.replace("pause", "pauze")).contains("pauze"));
        assert!(error(&good.replace("seconds: 5", "seconds: 0")).contains("cart:crash lasts 0"));
        assert!(error(&good.replace("crash", "crsh")).contains("no fault 'crsh'; there are latency"));
        let topology: Topology = serde_json::from_str(r#"{"services":[{"name":"web"}],"edges":[]}"#).unwrap();
        assert!(plan.check_against(&topology).unwrap_err().to_string().contains("'cart'; there are web"));
    }

    #[test]
    fn a_fault_is_a_service_and_a_kind_that_there_is() {
        assert_eq!(parse_fault("cart:slow-accept"), Ok(("cart".to_owned(), "slow-accept".to_owned())));
        assert!(parse_fault("cart").unwrap_err().contains("service:kind"));
        assert!(parse_fault("cart:latncy").unwrap_err().contains("'latncy'; there are latency"));
    }
}
