//! Questions as lists of numbers.

use quoll_blast_radius::{
    CallEdge, CallGraph, Inference, InferenceError, Network, SingleFaultPosterior, reach, single_fault,
};

use crate::fingerprint::fingerprint;

/// How many of the likeliest causes get a blast radius in [`Question::Tick`].
const BLASTS: usize = 5;

/// What can be asked. Lists have one entry per service.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// Everything about a network of many faults: fault and anomaly posteriors, the logarithm of the
    /// evidence's probability, and, if asked for, the blast radius of every service.
    Network {
        /// Number of services.
        services: u32,
        /// Calls.
        edges: Vec<CallEdge>,
        /// Priors.
        prior: Vec<f64>,
        /// Leaks.
        leak: Vec<f64>,
        /// P(e | normal), P(e | anomalous).
        likelihood: Vec<[f64; 2]>,
        /// Whether blast radii are wanted.
        blasts: bool,
    },
    /// What one tick needs: the graph put in order, the posterior over {no fault, fault at k}, and the blast
    /// radii of the five likeliest causes. The answer: whether it is exact (1 or 0), the width (0 if not
    /// exact), no fault, root causes, anomalies, blast radii (of `reach` if not exact).
    Tick {
        /// Number of services.
        services: u32,
        /// Calls.
        edges: Vec<CallEdge>,
        /// Leaks.
        leak: Vec<f64>,
        /// Prior of no fault.
        no_fault_prior: f64,
        /// Priors of the faults.
        fault_prior: Vec<f64>,
        /// Evidence.
        log_likelihood_ratio: Vec<f64>,
    },
    /// [`fingerprint()`] of this many services, as its upper and lower 32 bits.
    Fingerprint {
        /// Number of services.
        services: u32,
    },
}

impl Question {
    /// The question as a request for [`answer`].
    #[must_use]
    pub fn request(&self) -> Vec<f64> {
        let graph = |kind: f64, services: u32, edges: &[CallEdge]| {
            let mut list = vec![kind, f64::from(services), edges.len() as f64];
            list.extend(edges.iter().flat_map(|e| [f64::from(e.client), f64::from(e.server), e.strength]));
            list
        };
        match self {
            Self::Network { services, edges, prior, leak, likelihood, blasts } => {
                let mut list = graph(0.0, *services, edges);
                list.extend(prior.iter().chain(leak));
                list.extend(likelihood.iter().flatten());
                list.push(f64::from(u8::from(*blasts)));
                list
            }
            Self::Tick { services, edges, leak, no_fault_prior, fault_prior, log_likelihood_ratio } => {
                let mut list = graph(1.0, *services, edges);
                list.extend(leak);
                list.push(*no_fault_prior);
                list.extend(fault_prior.iter().chain(log_likelihood_ratio));
                list
            }
            Self::Fingerprint { services } => vec![2.0, f64::from(*services)],
        }
    }

    fn parse(request: &[f64]) -> Option<Self> {
        let mut reader = Reader(request);
        let kind = reader.whole()?;
        let services = reader.whole()?;
        let question = match kind {
            0 => {
                let edges = reader.edges()?;
                let (prior, leak) = (reader.list(services)?, reader.list(services)?);
                let flat = reader.list(services.checked_mul(2)?)?;
                let likelihood = flat.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect();
                Self::Network { services, edges, prior, leak, likelihood, blasts: reader.whole()? == 1 }
            }
            1 => {
                let edges = reader.edges()?;
                let leak = reader.list(services)?;
                let no_fault_prior = reader.next()?;
                let (fault_prior, log_likelihood_ratio) = (reader.list(services)?, reader.list(services)?);
                Self::Tick { services, edges, leak, no_fault_prior, fault_prior, log_likelihood_ratio }
            }
            2 => Self::Fingerprint { services },
            _ => return None,
        };
        reader.0.is_empty().then_some(question)
    }

    fn answer(&self) -> Result<Vec<f64>, Box<dyn std::error::Error>> {
        let mut result = vec![1.0];
        match self {
            Self::Network { services, edges, prior, leak, likelihood, blasts } => {
                let network = Network::new(CallGraph::new(*services, edges)?, prior.clone(), leak.clone())?;
                let posterior = network.posterior(likelihood)?;
                result.extend(posterior.fault.iter().chain(&posterior.anomalous));
                result.push(posterior.log_evidence);
                for root in 0..if *blasts { *services } else { 0 } {
                    result.extend(network.blast_radius(root)?);
                }
            }
            Self::Tick { services, edges, leak, no_fault_prior, fault_prior, log_likelihood_ratio } => {
                let graph = CallGraph::new(*services, edges)?;
                match Inference::new(&graph) {
                    Ok(inference) => {
                        let posterior = inference.single_fault_posterior(
                            leak,
                            *no_fault_prior,
                            fault_prior,
                            log_likelihood_ratio,
                        )?;
                        result.extend([1.0, f64::from(inference.width())]);
                        append(&mut result, &posterior);
                        result.extend(inference.blast_radii(leak, &likeliest(&posterior))?.iter().flatten());
                    }
                    Err(InferenceError::TooWide { .. }) => {
                        result.extend([0.0, 0.0]);
                        let answer = single_fault(&graph, leak, *no_fault_prior, fault_prior, log_likelihood_ratio)?;
                        append(&mut result, answer.posterior());
                        for root in likeliest(answer.posterior()) {
                            result.extend(reach(&graph, leak, root)?.hits());
                        }
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            Self::Fingerprint { services } => {
                let bits = fingerprint(*services)?;
                result.extend([(bits >> 32) as f64, (bits & 0xffff_ffff) as f64]);
            }
        }
        Ok(result)
    }
}

fn append(result: &mut Vec<f64>, posterior: &SingleFaultPosterior) {
    result.push(posterior.no_fault);
    result.extend(posterior.root_cause.iter().chain(&posterior.anomalous));
}

fn likeliest(posterior: &SingleFaultPosterior) -> Vec<u32> {
    let root_cause = &posterior.root_cause;
    let mut ranked: Vec<u32> = (0..).take(root_cause.len()).collect();
    ranked.sort_by(|&a, &b| root_cause[b as usize].total_cmp(&root_cause[a as usize]).then(a.cmp(&b)));
    ranked.truncate(BLASTS);
    ranked
}

/// The answer to a [`Question::request`].
#[must_use]
pub fn answer(request: &[f64]) -> Vec<f64> {
    Question::parse(request).and_then(|question| question.answer().ok()).unwrap_or_else(|| vec![0.0])
}

/// Takes a list apart from its front.
struct Reader<'a>(&'a [f64]);

impl Reader<'_> {
    fn next(&mut self) -> Option<f64> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn whole(&mut self) -> Option<u32> {
        let value = self.next()?;
        (value >= 0.0 && value <= f64::from(u32::MAX) && value.fract() == 0.0).then_some(value as u32)
    }

    fn list(&mut self, length: u32) -> Option<Vec<f64>> {
        let (list, rest) = self.0.split_at_checked(length as usize)?;
        self.0 = rest;
        Some(list.to_vec())
    }

    fn edges(&mut self) -> Option<Vec<CallEdge>> {
        let edges = self.whole()?;
        let flat = self.list(edges.checked_mul(3)?)?;
        flat.chunks_exact(3)
            .map(|edge| {
                let mut ids = Reader(edge);
                Some(CallEdge { client: ids.whole()?, server: ids.whole()?, strength: edge[2] })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick() -> Question {
        Question::Tick {
            services: 2,
            edges: vec![CallEdge { client: 0, server: 1, strength: 0.8 }],
            leak: vec![1e-9; 2],
            no_fault_prior: 0.98,
            fault_prior: vec![0.01; 2],
            log_likelihood_ratio: vec![3.0, 4.0],
        }
    }

    #[test]
    fn a_request_is_parsed_to_the_question_it_was_made_of() {
        let network = Question::Network {
            services: 1,
            edges: vec![],
            prior: vec![0.5],
            leak: vec![0.0],
            likelihood: vec![[1.0, 2.0]],
            blasts: true,
        };
        for question in [tick(), network, Question::Fingerprint { services: 5 }] {
            assert_eq!(Question::parse(&question.request()), Some(question));
        }
    }

    #[test]
    fn an_answer_is_the_engines() {
        let values = answer(&tick().request());
        // Exact, width, no fault, 2 causes, 2 anomalies, 2 blast radii of 2.
        assert_eq!(values.len(), 1 + 2 + 1 + 2 + 2 + 4);
        assert!((values[3..6].iter().sum::<f64>() - 1.0).abs() < 1e-15);
    }

    #[test]
    fn what_is_malformed_or_refused_is_answered_by_zero() {
        let mut short = tick().request();
        short.pop();
        let mut strength = tick().request();
        strength[5] = 2.0;
        let requests = [vec![], vec![7.0, 1.0], vec![1.0, 4e9], vec![0.5], vec![1.0, 2.0, 4e9], short, strength];
        for request in requests {
            assert_eq!(answer(&request), [0.0]);
        }
    }
}
