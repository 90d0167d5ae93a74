//! A fixed sequence of table operations, and its execution.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use super::builder::{Builder, WIDTH_LIMIT};
use super::indices::{Choice, Indices};
use crate::unrolled::Unrolled;
use crate::wide::{Number, Wide};
use crate::{CallGraph, InferenceError};

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

#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) first: u32,
    pub(super) second: u32,
    pub(super) result: u32,
    pub(super) choices: Range<u32>,
}

/// The sequence of operations for one graph; see the module above.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(super) services: u32,
    /// Services, and those that unrolled cycles add.
    pub(super) nodes: u32,
    /// Start of each table's values; one more than there are tables.
    pub(super) offsets: Vec<u32>,
    pub(super) choices: Vec<Choice>,
    pub(super) operations: Vec<Operation>,
    pub(super) links: Vec<LinkTable>,
    /// Table holding the final sum.
    pub(super) root: u32,
    /// Variables in the largest table.
    pub(super) width: u32,
    /// Multiplications of a forward pass.
    pub(super) multiplications: u64,
}

/// How a parent's anomaly reaches its child's OR.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkTable {
    pub(super) strength: f64,
    /// Index bit of the parent's anomaly; none if the parent is certainly anomalous.
    pub(super) parent_bit: usize,
    /// Index bit of the child's OR.
    pub(super) child_bit: usize,
}

/// Table 0 is the number one; then own terms and evidence by service; then readers by node; then links; then results.
pub(super) const ONE: u32 = 0;

impl Plan {
    /// Plans a graph, its cycles unrolled.
    ///
    /// # Errors
    /// [`InferenceError::TooWide`].
    pub(crate) fn new(graph: &CallGraph) -> Result<Self, InferenceError> {
        Self::of(&Unrolled::of(graph))
    }

    /// # Errors
    /// [`InferenceError::TooWide`].
    pub(crate) fn of(network: &Unrolled) -> Result<Self, InferenceError> {
        Builder::new(network).plan(network)
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
        (1 + 2 * self.services + self.nodes) as usize + self.links.len()
    }

    /// Takes over the strengths of a graph with the same calls.
    pub(crate) fn set_strengths(&mut self, graph: &CallGraph) {
        for (table, link) in self.links.iter_mut().zip(&Unrolled::of(graph).links) {
            table.strength = link.strength;
        }
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
            (base..base + self.services)
                .map(|table| {
                    let [off, on] = self.ends(table);
                    [slopes[off], slopes[on]]
                })
                .collect()
        };
        Outcome { value: values[self.start(self.root)], own: pairs(1), likelihood: pairs(1 + self.services) }
    }

    pub(super) fn fill<T: Number + FromWide>(&self, inputs: &Inputs<'_, T>, values: &mut [T]) {
        values[self.start(ONE)] = T::ONE;
        let pairs = inputs.own.iter().chain(inputs.likelihood);
        for (table, pair) in (1..).zip(pairs) {
            let [off, on] = self.ends(table);
            (values[off], values[on]) = (pair[0], pair[1]);
        }
        let readers = 1 + 2 * self.services;
        for table in readers..readers + self.nodes {
            let [normal, anomalous] = self.ends(table);
            (values[normal], values[anomalous]) = (T::ONE, T::ONE);
        }
        for (table, link) in (readers + self.nodes..).zip(&self.links) {
            let start = self.start(table);
            // Of a parent that is certain there is only the half where it is anomalous.
            values[start] = T::ONE;
            values[start + link.parent_bit] = T::from_wide(Wide::new(1.0 - link.strength));
            values[start + (link.parent_bit | link.child_bit)] = T::from_wide(Wide::new(link.strength));
        }
    }

    /// Where all variables of a table are 0, and where all are 1.
    fn ends(&self, table: u32) -> [usize; 2] {
        [self.start(table), self.start(table + 1) - 1]
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
