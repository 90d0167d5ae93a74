//! The values of a plan's tables, kept between runs, so that a change costs no more than what it reaches.
//!
//! Every table but the number one is the operand of one operation at most, and what an operation writes
//! depends on its operands alone. So an operation is repeated, forwards or backwards, where something it
//! reads changed in a bit, and what is not repeated holds the bits that a run from scratch would write.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use super::indices::Indices;
use super::plan::{FromWide, Inputs, Outcome, Plan};
use crate::wide::Number;

/// Values and slopes of every table after a run.
#[derive(Debug, Clone)]
pub(crate) struct State<T> {
    values: Vec<T>,
    slopes: Vec<T>,
    repeated: u32,
}

impl<T: Number + FromWide + PartialEq> State<T> {
    /// Nothing known yet: the first [`State::run`] runs everything.
    pub(crate) fn new() -> Self {
        Self { values: Vec::new(), slopes: Vec::new(), repeated: 0 }
    }

    /// Operations that the last run repeated, forwards and backwards counted apart.
    pub(crate) fn repeated(&self) -> u32 {
        self.repeated
    }

    /// Executes `plan`, which must have the operations of the runs before; strengths may differ.
    pub(crate) fn run(&mut self, plan: &Plan, inputs: &Inputs<'_, T>) -> Outcome<T> {
        let offsets = plan.offsets();
        let tables = offsets.len() - 1;
        let size = offsets[tables] as usize;
        let range = |table: u32| offsets[table as usize] as usize..offsets[table as usize + 1] as usize;
        let fresh = self.values.len() != size;
        if fresh {
            self.values = vec![T::ZERO; size];
            self.slopes = vec![T::ZERO; size];
            self.slopes[offsets[plan.root as usize] as usize] = T::ONE;
        }
        self.repeated = 0;
        let mut value_changed = vec![fresh; tables];
        let given = plan.given();
        let mut leaves = vec![T::ZERO; offsets[given] as usize];
        plan.fill(inputs, &mut leaves);
        for table in 0..given as u32 {
            let values = &mut self.values[range(table)];
            if *values != leaves[range(table)] {
                values.copy_from_slice(&leaves[range(table)]);
                value_changed[table as usize] = true;
            }
        }
        let (mut indices, mut before) = (Indices::default(), Vec::new());
        for operation in &plan.operations {
            if value_changed[operation.first as usize] || value_changed[operation.second as usize] {
                clear(&mut self.values, range(operation.result), &mut before);
                plan.forward(operation, &mut self.values, &mut indices);
                value_changed[operation.result as usize] = fresh || self.values[range(operation.result)] != before[..];
                self.repeated += 1;
            }
        }
        let mut slope_changed = vec![fresh; tables];
        let mut before_second = Vec::new();
        for operation in plan.operations.iter().rev() {
            let (first, second) = (operation.first, operation.second);
            let read = slope_changed[operation.result as usize];
            if read || value_changed[first as usize] || value_changed[second as usize] {
                clear(&mut self.slopes, range(first), &mut before);
                clear(&mut self.slopes, range(second), &mut before_second);
                plan.backward(operation, &self.values, &mut self.slopes, &mut indices);
                slope_changed[first as usize] = fresh || self.slopes[range(first)] != before[..];
                slope_changed[second as usize] = fresh || self.slopes[range(second)] != before_second[..];
                self.repeated += 1;
            }
        }
        plan.outcome(&self.values, &self.slopes)
    }
}

/// Moves a table to `before` and leaves zeros.
fn clear<T: Number>(tables: &mut [T], table: Range<usize>, before: &mut Vec<T>) {
    before.clear();
    before.extend_from_slice(&tables[table.clone()]);
    tables[table].fill(T::ZERO);
}
