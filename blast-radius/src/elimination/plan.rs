//! A graph turned into a fixed sequence of table operations, and their execution.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use super::indices::{Choice, Indices};
use super::order::Interaction;
use crate::wide::{Number, Wide};
use crate::{CallGraph, InferenceError};

/// Largest number of variables in one table.
const WIDTH_LIMIT: u32 = 20;
/// Largest number of multiplications of one pass.
///
/// It bounds the memory too, at about 350 MiB: no operation writes more entries than it multiplies, so that the
/// tables hold 2^22 entries apart from those given (eight per service and four per call); an entry has 32 bytes
/// at most and is kept twice, as value and as slope (256 MiB); the indices of one operation take 12 bytes each
/// (48 MiB, twice that while they grow).
const OPERATIONS_LIMIT: u64 = 1 << 22;

/// What a run is given: per service the weights of its own term being off and on, and of its evidence
/// under normal and anomalous. One entry per service each.
pub(crate) struct Inputs<'a, T> {
    pub(crate) own: &'a [[T; 2]],
    pub(crate) likelihood: &'a [[T; 2]],
}

/// What a run gives: the sum over all states, and its derivative with respect to every input.
pub(crate) struct Outcome<T> {
    pub(crate) value: T,
    pub(crate) own: Vec<[T; 2]>,
    pub(crate) likelihood: Vec<[T; 2]>,
}

/// A variable in a table, with the kind of that table in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Slot {
    variable: u32,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    /// `A_i`: tables multiply.
    Plain,
    /// `O_i` in a table that contributes to the OR.
    Contribution,
    /// `O_i` in the one table that reads the OR.
    Reader,
}

#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) first: u32,
    pub(super) second: u32,
    pub(super) result: u32,
    choices: Range<u32>,
}

/// The sequence of operations for one graph; see the module above.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    services: u32,
    /// Start of each table's values; one more than there are tables.
    offsets: Vec<u32>,
    choices: Vec<Choice>,
    pub(super) operations: Vec<Operation>,
    edge_strengths: Vec<f64>,
    /// Whether the callee, not the OR, is the first variable of the edge's table.
    callee_first: Vec<bool>,
    /// Table holding the final sum.
    pub(super) root: u32,
    /// Variables in the largest table.
    width: u32,
    /// Multiplications of a forward pass.
    multiplications: u64,
}

/// Table 0 is the number one; then own terms, evidence and readers by service; then edges; then results.
const ONE: u32 = 0;

struct Builder {
    plan: Plan,
    scopes: Vec<Vec<Slot>>,
    /// Tables that mention each variable and are not yet combined.
    mentions: Vec<Vec<u32>>,
    live: Vec<bool>,
    multiplications: u64,
    width: u32,
}

fn anomalous(service: u32) -> u32 {
    2 * service
}

fn any_cause(service: u32) -> u32 {
    2 * service + 1
}

impl Plan {
    /// # Errors
    /// [`InferenceError::TooWide`].
    pub(crate) fn new(graph: &CallGraph) -> Result<Self, InferenceError> {
        let services = graph.services();
        let mut builder = Builder::new(graph);
        let links = (0..services)
            .map(|s| (anomalous(s), any_cause(s)))
            .chain(graph.dag_edges().iter().map(|e| (anomalous(e.server), any_cause(e.client))));
        let mut interaction = Interaction::new(2 * services as usize, links, WIDTH_LIMIT as usize);
        let mut scalars = Vec::new();
        while let Some(next) = interaction.next() {
            match next {
                Ok(variable) => builder.eliminate(variable, &mut scalars)?,
                Err(degree) => {
                    builder.width = builder.width.max(degree);
                    return Err(builder.too_wide());
                }
            }
        }
        for scalar in scalars {
            builder.plan.root = builder.combine(builder.plan.root, scalar, None)?;
        }
        builder.plan.width = builder.width;
        builder.plan.multiplications = builder.multiplications;
        Ok(builder.plan)
    }

    /// Multiplications of a forward pass.
    pub(crate) fn multiplications(&self) -> u64 {
        self.multiplications
    }

    /// A width beside its limit, as [`InferenceError::TooWide`] has them.
    pub(crate) fn limits(width: u32) -> (u32, u32) {
        (width, WIDTH_LIMIT)
    }

    /// Variables in the largest table.
    pub(crate) fn width(&self) -> u32 {
        self.width
    }

    /// Operations of a run, forwards and backwards.
    pub(crate) fn operations(&self) -> u32 {
        2 * self.operations.len() as u32
    }

    /// Where each table's values start; one more than there are tables.
    pub(super) fn offsets(&self) -> &[u32] {
        &self.offsets
    }

    /// Number of tables that are given, before those that operations make.
    pub(super) fn given(&self) -> usize {
        (1 + 3 * self.services) as usize + self.edge_strengths.len()
    }

    /// Takes over the strengths of a graph with the same calls.
    pub(crate) fn set_strengths(&mut self, graph: &CallGraph) {
        self.edge_strengths.clear();
        self.edge_strengths.extend(graph.dag_edges().iter().map(|edge| edge.strength));
    }

    /// Executes the plan.
    pub(crate) fn run<T: Number + FromWide>(&self, inputs: &Inputs<'_, T>) -> Outcome<T> {
        let size = self.offsets.last().copied().unwrap_or(0) as usize;
        let mut values = vec![T::ZERO; size];
        self.fill(inputs, &mut values);
        let mut indices = Indices::default();
        for operation in &self.operations {
            self.forward(operation, &mut values, &mut indices);
        }
        let mut slopes = vec![T::ZERO; size];
        slopes[self.start(self.root)] = T::ONE;
        for operation in self.operations.iter().rev() {
            self.backward(operation, &values, &mut slopes, &mut indices);
        }
        self.outcome(&values, &slopes)
    }

    /// Adds what an operation gives to its result, which is zero before.
    pub(super) fn forward<T: Number>(&self, operation: &Operation, values: &mut [T], indices: &mut Indices) {
        let [first, second, result] = self.starts(operation);
        indices.enumerate(&self.choices[operation.choices.start as usize..operation.choices.end as usize]);
        // A result lies behind its operands.
        let (operands, results) = values.split_at_mut(result);
        let (first, second) = (&operands[first..], &operands[second..]);
        for (i, j, k) in indices.iter() {
            results[k] = results[k].plus(first[i].times(second[j]));
        }
    }

    /// Adds what the derivative with respect to an operation's result means for its operands', zero before.
    pub(super) fn backward<T: Number>(
        &self,
        operation: &Operation,
        values: &[T],
        slopes: &mut [T],
        indices: &mut Indices,
    ) {
        let [first, second, result] = self.starts(operation);
        indices.enumerate(&self.choices[operation.choices.start as usize..operation.choices.end as usize]);
        let (operands, results) = slopes.split_at_mut(result);
        for (i, j, k) in indices.iter() {
            let slope = results[k];
            operands[first + i] = operands[first + i].plus(slope.times(values[second + j]));
            operands[second + j] = operands[second + j].plus(slope.times(values[first + i]));
        }
    }

    pub(super) fn outcome<T: Number>(&self, values: &[T], slopes: &[T]) -> Outcome<T> {
        let pairs = |base: u32| {
            (0..self.services)
                .map(|service| {
                    let start = self.start(base + service);
                    [slopes[start], slopes[start + 1]]
                })
                .collect()
        };
        Outcome { value: values[self.start(self.root)], own: pairs(1), likelihood: pairs(1 + self.services) }
    }

    pub(super) fn fill<T: Number + FromWide>(&self, inputs: &Inputs<'_, T>, values: &mut [T]) {
        values[self.start(ONE)] = T::ONE;
        let pairs = inputs.own.iter().chain(inputs.likelihood);
        for (table, pair) in (1..).zip(pairs) {
            let start = self.start(table);
            values[start..start + 2].copy_from_slice(pair);
        }
        for service in 0..self.services {
            let start = self.start(1 + 2 * self.services + service);
            values[start] = T::ONE;
            values[start + 3] = T::ONE;
        }
        for (table, &strength) in (1 + 3 * self.services..).zip(&self.edge_strengths) {
            let start = self.start(table);
            let [callee_bit, cause_bit] = self.edge_bits(table);
            values[start] = T::ONE;
            values[start + callee_bit] = T::from_wide(Wide::new(1.0 - strength));
            values[start + (callee_bit | cause_bit)] = T::from_wide(Wide::new(strength));
        }
    }

    /// Index bits of the callee's anomaly and of the caller's OR in an edge's table.
    fn edge_bits(&self, table: u32) -> [usize; 2] {
        let edge = (table - 1 - 3 * self.services) as usize;
        if self.callee_first[edge] { [1, 2] } else { [2, 1] }
    }

    pub(super) fn start(&self, table: u32) -> usize {
        self.offsets[table as usize] as usize
    }

    fn starts(&self, operation: &Operation) -> [usize; 3] {
        [self.start(operation.first), self.start(operation.second), self.start(operation.result)]
    }
}

/// Numbers that a plain weight can be turned into.
pub(crate) trait FromWide {
    fn from_wide(value: Wide) -> Self;
}

impl FromWide for Wide {
    fn from_wide(value: Wide) -> Self {
        value
    }
}

impl FromWide for crate::wide::AtMostOne {
    fn from_wide(value: Wide) -> Self {
        Self { none: value, once: Wide::ZERO }
    }
}

impl Builder {
    fn new(graph: &CallGraph) -> Self {
        let services = graph.services();
        let plan = Plan {
            services,
            offsets: vec![0],
            choices: Vec::new(),
            operations: Vec::new(),
            edge_strengths: graph.dag_edges().iter().map(|e| e.strength).collect(),
            callee_first: graph.dag_edges().iter().map(|e| anomalous(e.server) < any_cause(e.client)).collect(),
            root: ONE,
            width: 0,
            multiplications: 0,
        };
        let mut builder = Self {
            plan,
            scopes: Vec::new(),
            mentions: vec![Vec::new(); 2 * services as usize],
            live: Vec::new(),
            multiplications: 0,
            width: 0,
        };
        let plain = |variable| Slot { variable, kind: Kind::Plain };
        let contribution = |variable| Slot { variable, kind: Kind::Contribution };
        builder.table(Vec::new());
        for service in 0..services {
            builder.table(vec![contribution(any_cause(service))]);
        }
        for service in 0..services {
            builder.table(vec![plain(anomalous(service))]);
        }
        for service in 0..services {
            let reader = Slot { variable: any_cause(service), kind: Kind::Reader };
            builder.table(vec![plain(anomalous(service)), reader]);
        }
        for edge in graph.dag_edges() {
            let mut scope = vec![plain(anomalous(edge.server)), contribution(any_cause(edge.client))];
            scope.sort_unstable();
            builder.table(scope);
        }
        builder
    }

    fn table(&mut self, scope: Vec<Slot>) -> u32 {
        let table = self.scopes.len() as u32;
        let start = self.plan.offsets.last().copied().unwrap_or(0);
        self.plan.offsets.push(start + (1 << scope.len()));
        for slot in &scope {
            self.mentions[slot.variable as usize].push(table);
        }
        self.scopes.push(scope);
        self.live.push(true);
        table
    }

    fn too_wide(&self) -> InferenceError {
        InferenceError::TooWide {
            width: self.width,
            width_limit: WIDTH_LIMIT,
            operations: self.multiplications,
            operations_limit: OPERATIONS_LIMIT,
        }
    }

    /// Combines all tables that mention `variable` and removes it.
    fn eliminate(&mut self, variable: u32, scalars: &mut Vec<u32>) -> Result<(), InferenceError> {
        let mut bucket = core::mem::take(&mut self.mentions[variable as usize]);
        bucket.retain(|&table| self.live[table as usize]);
        // The reader of the variable comes last, so that it meets all contributions at once.
        bucket.sort_by_key(|&table| {
            let scope = &self.scopes[table as usize];
            let reads = scope.iter().any(|slot| slot.variable == variable && slot.kind == Kind::Reader);
            (reads, scope.len(), table)
        });
        let Some((&last, others)) = bucket.split_last() else { return Ok(()) };
        let mut combined = ONE;
        for &table in others {
            combined = if combined == ONE { table } else { self.combine(combined, table, None)? };
        }
        let result = self.combine(combined, last, Some(variable))?;
        if self.scopes[result as usize].is_empty() {
            scalars.push(result);
        }
        Ok(())
    }

    /// The product of two tables, with `removed` summed out (or, for an OR, read).
    fn combine(&mut self, first: u32, second: u32, removed: Option<u32>) -> Result<u32, InferenceError> {
        let start = self.plan.choices.len() as u32;
        let mut scope: Vec<Slot> = Vec::new();
        let (left, right) = (&self.scopes[first as usize], &self.scopes[second as usize]);
        let (mut i, mut j) = (0, 0);
        loop {
            let (a, b) = (left.get(i), right.get(j));
            let variable = match (a, b) {
                (None, None) => break,
                (Some(a), None) => a.variable,
                (None, Some(b)) => b.variable,
                (Some(a), Some(b)) => a.variable.min(b.variable),
            };
            let a = a.filter(|slot| slot.variable == variable);
            let b = b.filter(|slot| slot.variable == variable);
            let (first, second) = (a.map_or(0, |_| 1 << i), b.map_or(0, |_| 1 << j));
            i += usize::from(a.is_some());
            j += usize::from(b.is_some());
            let gone = removed == Some(variable);
            let result = if gone { 0 } else { 1 << scope.len() };
            let kind = match (a.map(|s| s.kind), b.map(|s| s.kind)) {
                (Some(Kind::Contribution), Some(Kind::Contribution)) => {
                    self.plan.choices.push(Choice { first, second: 0, result });
                    self.plan.choices.push(Choice { first: 0, second, result });
                    Kind::Contribution
                }
                (Some(Kind::Contribution), Some(Kind::Reader)) => {
                    self.plan.choices.push(Choice { first, second, result: 0 });
                    if !gone {
                        self.plan.choices.push(Choice { first: 0, second, result });
                    }
                    Kind::Reader
                }
                (Some(Kind::Reader), Some(Kind::Contribution)) => {
                    self.plan.choices.push(Choice { first, second, result: 0 });
                    if !gone {
                        self.plan.choices.push(Choice { first, second: 0, result });
                    }
                    Kind::Reader
                }
                // Nothing left to OR: the reader is read at zero.
                (Some(Kind::Reader), None) | (None, Some(Kind::Reader)) if gone => Kind::Reader,
                (a, b) => {
                    self.plan.choices.push(Choice { first, second, result });
                    a.or(b).unwrap_or(Kind::Plain)
                }
            };
            if !gone {
                scope.push(Slot { variable, kind });
            }
        }
        let end = self.plan.choices.len() as u32;
        self.width = self.width.max(scope.len() as u32);
        self.multiplications += 1 << (end - start).min(40);
        if self.width > WIDTH_LIMIT || self.multiplications > OPERATIONS_LIMIT {
            return Err(self.too_wide());
        }
        let result = self.table(scope);
        for used in [first, second] {
            if used != ONE {
                self.live[used as usize] = false;
            }
        }
        self.plan.operations.push(Operation { first, second, result, choices: start..end });
        Ok(result)
    }
}
