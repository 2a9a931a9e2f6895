//! What is measured: pairs of inputs that must cost the same, and two controls that must not.
//!
//! Responsible for inputs and for what is done with them. Not responsible for measuring (`meter`).

mod controls;
mod names;
mod proofs;
mod tokens;

/// What is done with an input, and whether it went as it is meant to.
pub(crate) type Work = Box<dyn FnMut(&[u8]) -> bool>;

/// Inputs of both classes: as many of each, all of one length.
pub(crate) type Inputs = [Vec<Vec<u8>>; 2];

/// One pair of classes.
pub(crate) struct Case {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// What the two classes are, in words.
    pub(crate) classes: [&'static str; 2],
    /// A control: the classes differ on purpose, and a meter that does not see it is blind.
    pub(crate) leaks: bool,
    /// How often an input is worked on in one sample, for work that is short beside the clock's own.
    pub(crate) repeats: u32,
    pub(crate) inputs: Inputs,
    pub(crate) work: Work,
}

/// Every case, controls last.
pub(crate) fn all() -> anyhow::Result<Vec<Case>> {
    let mut cases = proofs::cases()?;
    cases.extend(names::cases()?);
    cases.push(tokens::case());
    cases.extend(controls::cases()?);
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::{FEWEST, Meter};

    /// of every case, both classes are refused in the same way; what is measured is what is meant.
    #[test]
    fn every_input_of_every_case_is_refused_as_it_is_meant_to_be() -> anyhow::Result<()> {
        for case in &mut all()? {
            assert_eq!(case.inputs[0].len(), case.inputs[1].len(), "{}", case.name);
            let length = case.inputs[0][0].len();
            for input in case.inputs.iter().flatten() {
                assert_eq!(input.len(), length, "{}: the length would tell", case.name);
                assert!((case.work)(input), "{}", case.name);
            }
            let [first, second] = &case.inputs;
            assert!(
                first != second,
                "{}: there is nothing to tell apart",
                case.name
            );
        }
        Ok(())
    }

    #[test]
    fn every_case_can_be_measured() -> anyhow::Result<()> {
        for case in &mut all()? {
            let outcome = Meter::new(1, FEWEST).measure(case)?;
            assert!(
                outcome.medians.iter().all(|nanos| *nanos > 0.0),
                "{}",
                case.name
            );
        }
        Ok(())
    }

    #[test]
    fn there_are_controls_and_names_are_distinct() -> anyhow::Result<()> {
        let cases = all()?;
        assert_eq!(cases.iter().filter(|case| case.leaks).count(), 2);
        let mut names: Vec<&str> = cases.iter().map(|case| case.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), cases.len());
        Ok(())
    }
}
