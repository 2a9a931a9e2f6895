//! Whether a policy makes sense: every contradiction at once, with its key, its value, and what to write instead.
//!
//! Not responsible for the syntax (`config`).

use super::settings::Policy;

impl Policy {
    /// Everything that is wrong with it: `key = value: what is wrong; what to write`. Empty: nothing.
    pub fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.min > self.max {
            wrong.push(format!(
                "min = {}: is more than max = {}; write a smaller min or a greater max",
                self.min, self.max
            ));
        }
        wrong
    }
}
