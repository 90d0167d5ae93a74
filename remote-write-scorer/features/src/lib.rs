//! From raw series to one vector of features per service and step.
