//! A network turned into a [`Plan`]: which tables are combined in which order, and every index of it.

use alloc::vec;
use alloc::vec::Vec;

use super::indices::Choice;
use super::order::Interaction;
use super::plan::{LinkTable, ONE, Operation, Plan};
use crate::InferenceError;
use crate::unrolled::Unrolled;

/// Largest number of variables in one table.
pub(super) const WIDTH_LIMIT: u32 = 20;
/// Largest number of multiplications of one pass.
///
/// It bounds the memory too, at about 350 MiB: no operation writes more entries than it multiplies, so that the
/// tables hold 2^22 entries apart from those given (eight per service and four per call); an entry has 32 bytes
/// at most and is kept twice, as value and as slope (256 MiB); the indices of one operation take 12 bytes each
/// (48 MiB, twice that while they grow).
const OPERATIONS_LIMIT: u64 = 1 << 22;

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

pub(super) struct Builder {
    plan: Plan,
    scopes: Vec<Vec<Slot>>,
    /// Tables that mention each variable and are not yet combined.
    mentions: Vec<Vec<u32>>,
    live: Vec<bool>,
    multiplications: u64,
    width: u32,
}

/// `A` of a node.
fn anomalous(node: u32) -> u32 {
    2 * node
}

/// `O` of a node.
fn any_cause(node: u32) -> u32 {
    2 * node + 1
}

impl Builder {
    /// The tables that are given, and nothing combined yet.
    pub(super) fn new(network: &Unrolled) -> Self {
        let (services, nodes) = (network.services, network.nodes());
        let plan = Plan {
            services,
            nodes,
            offsets: vec![0],
            choices: Vec::new(),
            operations: Vec::new(),
            links: Vec::with_capacity(network.links.len()),
            root: ONE,
            width: 0,
            multiplications: 0,
        };
        let mut builder = Self {
            plan,
            scopes: Vec::new(),
            mentions: vec![Vec::new(); 2 * nodes as usize],
            live: Vec::new(),
            multiplications: 0,
            width: 0,
        };
        let plain = |variable| Slot { variable, kind: Kind::Plain };
        let contribution = |variable| Slot { variable, kind: Kind::Contribution };
        builder.table(Vec::new());
        for service in 0..services {
            builder.table(vec![contribution(any_cause(network.own_node(service)))]);
        }
        for service in 0..services {
            builder.table(vec![plain(anomalous(service))]);
        }
        for node in 0..nodes {
            let reader = Slot { variable: any_cause(node), kind: Kind::Reader };
            builder.table(vec![plain(anomalous(node)), reader]);
        }
        for link in &network.links {
            let child = contribution(any_cause(link.child));
            let mut scope: Vec<Slot> =
                link.parent.map(|node| plain(anomalous(node))).into_iter().chain([child]).collect();
            scope.sort_unstable();
            let child_bit = if scope.first() == Some(&child) { 1 } else { 2 };
            let parent_bit = if link.parent.is_some() { 3 - child_bit } else { 0 };
            builder.plan.links.push(LinkTable { strength: link.strength, parent_bit, child_bit });
            builder.table(scope);
        }
        builder
    }

    /// Eliminates everything.
    ///
    /// # Errors
    /// [`InferenceError::TooWide`].
    pub(super) fn plan(mut self, network: &Unrolled) -> Result<Plan, InferenceError> {
        let nodes = network.nodes();
        let links = (0..nodes)
            .map(|node| (anomalous(node), any_cause(node)))
            .chain(network.links.iter().filter_map(|link| Some((anomalous(link.parent?), any_cause(link.child)))));
        let mut interaction = Interaction::new(2 * nodes as usize, links, WIDTH_LIMIT as usize);
        let mut scalars = Vec::new();
        while let Some(next) = interaction.next() {
            match next {
                Ok(variable) => self.eliminate(variable, &mut scalars)?,
                Err(degree) => {
                    self.width = self.width.max(degree);
                    return Err(self.too_wide());
                }
            }
        }
        for scalar in scalars {
            self.plan.root = self.combine(self.plan.root, scalar, None)?;
        }
        self.plan.width = self.width;
        self.plan.multiplications = self.multiplications;
        Ok(self.plan)
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
