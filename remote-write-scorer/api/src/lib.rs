//! HTTP interface of the scorer.
