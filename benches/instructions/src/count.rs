//! What is counted: the calls of one function, whose name callgrind is told.
//!
//! Responsible for keeping set-up out of the count and for finding out that a case did not do what it is named for. Not
//! responsible for counting: without callgrind the cases merely run.

use std::hint::black_box;

/// The function whose instructions count, as callgrind writes it. Patterns do not work across `::`.
pub(crate) const COUNTED: &str = "taciturn_instructions::count::counted_region";

/// The cases that have run, in order.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    regions: Vec<(String, usize)>,
}

impl Counter {
    /// Name and number of operations of each case so far.
    pub(crate) fn regions(&self) -> impl Iterator<Item = (&str, usize)> {
        let regions = self.regions.iter();
        regions.map(|(name, operations)| (name.as_str(), *operations))
    }

    /// Counts one call. It returns how many operations went as they should, which must be all of them.
    ///
    /// # Errors
    ///
    /// Fewer did.
    pub(crate) fn once(
        &mut self,
        name: &str,
        operations: usize,
        mut run: impl FnMut() -> usize,
    ) -> anyhow::Result<()> {
        let done = counted_region(&mut run);
        anyhow::ensure!(
            done == operations,
            "{name}: {done} of {operations} operations went as they should"
        );
        self.regions.push((name.to_owned(), operations));
        Ok(())
    }

    /// Counts a step over the second half of the inputs, once tables and buffers have grown over the first.
    ///
    /// # Errors
    ///
    /// A step returned `false`.
    pub(crate) fn each<I>(
        &mut self,
        name: &str,
        inputs: &[I],
        mut step: impl FnMut(&I) -> bool,
    ) -> anyhow::Result<()> {
        let (first, second) = inputs.split_at(inputs.len() / 2);
        let mut over = |inputs: &[I]| {
            let steps = inputs.iter().map(|input| step(black_box(input)));
            steps.filter(|went_well| *went_well).count()
        };
        let warmed = over(first);
        anyhow::ensure!(
            warmed == first.len(),
            "{name}: {warmed} of {} steps before the count went as they should",
            first.len()
        );
        self.once(name, second.len(), || over(second))
    }
}

/// Neither inlined nor left by a jump, so that callgrind sees it begin and end.
#[inline(never)]
fn counted_region(run: &mut dyn FnMut() -> usize) -> usize {
    black_box(run())
}
